"""Sphinx settings. `make site` (docs/make_site.py) gathers the pages in docs/build/source and runs Sphinx on them."""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # for slug.py and api_page.py, and for make_site.py
from make_site import EDITIONS, words_in  # noqa: E402

ABOUT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

language = os.environ.get("SITE_LANGUAGE", "en")
html_search_language = "en"  # Sphinx's own search isn't shown (Pagefind is), and its script for Chinese raises an error
words = words_in(language)
project = words["project"]
author = ABOUT.get("authors", [{"name": ""}])[0]["name"]
copyright = author
version = release = ABOUT["version"]
LABELS = {"en": "English", "zh_CN": "中文"}

extensions = ["myst_nb", "autodoc2", "sphinx_design", "sphinx_copybutton"]
nb_execution_mode = "off"  # the outputs are those that `make notebooks` stored
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = words["code.show"], words["code.hide"]
myst_enable_extensions = ["colon_fence", "dollarmath", "amsmath", "attrs_inline"]
myst_heading_anchors = 4
myst_heading_slug_func = "slug.slug"
myst_all_links_external = False
suppress_warnings = []

autodoc2_packages = [f"../../../{name}" for name in ("swin_numpy", "swin_torch")]
autodoc2_output_dir = "api"
autodoc2_docstring_parser_regexes = [(r".*", "myst")]
autodoc2_render_plugin = "api_page.ApiPage"
autodoc2_class_docstring = "both"
autodoc2_hidden_objects = {"private", "dunder", "inherited"}
autodoc2_skip_module_regexes = [r".*\.__main__"]
autodoc2_index_template = None

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static", "build/static"]
templates_path = ["_templates"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_favicon = "_static/icon.svg"
html_context = {
    "default_mode": "auto",
    "languages": {name: (LABELS[name], "" if name == "en" else f"{name}/") for name in EDITIONS},
    "words": words,
}
html_theme_options = {
    "use_download_button": False,  # each chapter has its own link to the notebook
    "show_toc_level": 1,
    "collapse_navbar": True,
    "navbar_persistent": [],
    "article_header_end": ["language.html", "article-header-buttons.html"],
    "search_bar_text": words["search"],
    "footer_content_items": ["author.html", "extra-footer.html"],
    "extra_footer": words["footer"].format(version=version),
}
pygments_style = "default"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
mathjax_path = "mathjax/tex-chtml.js"

# Buttons that need a public address; the workflow knows it, a clone doesn't. Binder installs the whole repository;
# Colab opens one notebook without the packages it imports, so there is no Colab button.
if repository := os.environ.get("GITHUB_REPOSITORY"):
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": "main",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    }
