"""One page for each module: a link to its twin, its public names with their docstrings, its whole source."""

from pathlib import Path

from autodoc2.render.myst_ import MystRenderer

OTHER = {"swin_numpy": "swin_torch", "swin_torch": "swin_numpy"}


class ApiPage(MystRenderer):
    """autodoc2's pages, put together in our order."""

    def render_package(self, item):
        name, path = item["full_name"], Path(item["file_path"]).resolve()
        package, _, rest = name.partition(".")
        yield from [f"# {name}", "", f"```{{py:module}} {name}", "```", ""]
        if Path(str(path).replace(f"/{package}/", f"/{OTHER[package]}/")).exists():
            yield from [f"Its twin: {{py:mod}}`{OTHER[package]}{'.' * bool(rest)}{rest}`", ""]
        if self.show_docstring(item):
            yield from [f"```{{autodoc2-docstring}} {name}", ":parser: myst", ":allowtitles:", "```", ""]
        inside = sorted(child["full_name"] for child in self.get_children(item, {"package", "module"}))
        if inside:
            yield from ["## Modules", "", "```{toctree}", ":titlesonly:", ""]
            yield from [f"{child.removeprefix(name + '.')} <{child}>" for child in inside]
            yield from ["```", ""]
        names = [child for child in self.get_children(item) if child["type"] not in ("package", "module")]
        if names:
            yield from ["## Public names", ""]
        for child in names:
            yield from self.render_item(child["full_name"])
        if source := path.read_text(encoding="utf-8").rstrip():
            yield from ["## Source", "", "````````{code-block} python", ":linenos:", "", source, "````````", ""]
