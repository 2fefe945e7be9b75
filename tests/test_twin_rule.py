"""The twin rule: same files, classes, functions, methods, arguments and einops patterns in both packages.

What may differ is listed here, and nowhere else.
"""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = "swin_numpy", "swin_torch"

TWINS = {"attention", "backbone", "block", "layers", "model", "patches", "window_attention", "windows"}

# PyTorch is these things already (module, functional, optim), or shares the NumPy package's (configurations,
# checkpoints, pictures, data): they exist once.
NUMPY_ONLY = "__main__ config functional gelu optim".split()
TORCH_ONLY = ["compare", "convert", "tour", "fused_training"]  # rooms that know both twins; gradients of the fast way
TRAINERS = {"train"}  # in both; the same outside, but PyTorch's brings its own AdamW and several processes
NO_TWINS = {"fused", "module"}  # the fast way differs; a Module is all there is in NumPy, one method in PyTorch

# Layers that PyTorch has, and what stands behind random numbers there.
TORCH_HAS = {
    "layers.Linear",
    "layers.LayerNorm",
    "layers.Conv2d",
    "layers.Dropout",
    "layers.ReLU",
    "layers.Sigmoid",
    "layers.Sequential",
    "layers.small_normal",
    "layers.seed_dropout",
    "model.check_dtype",  # with a PyTorch model it is .double(), .half(), …
}
OTHER_ARGUMENTS = {
    "model.SwinTransformer.__init__": {"dtype"},
    "backbone.Backbone.__init__": {"dtype"},
    "layers.keep_mask": {
        "rng",
        "dtype",
        "like",
    },  # NumPy's random numbers come from a generator, PyTorch's from anywhere
}
SHARED = {"config", "files", "folder", "hub", "load", "initial"}  # what a twin file may take from swin_numpy


def files(package):
    return {path.stem for path in (ROOT / package).glob("*.py")}


FOR_BACKWARD = {"save", "saved", "check_gradient", "rows"}


def is_backward(name):
    """What autograd does for you exists in NumPy only, and so do its helpers."""
    return "backward" in name or name in FOR_BACKWARD


def own(name, thing):
    """Does `thing` (a class or a function) come from the file `name`?"""
    return (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == name


def public(package, file):
    """{name: class or function} that a file defines."""
    name = f"{package}.{file}"
    things = vars(importlib.import_module(name)).items()
    return {
        key: thing for key, thing in things if own(name, thing) and not key.startswith("_") and not is_backward(key)
    }


def methods(cls):
    """{name: function} that a class itself defines; properties and class methods count."""
    found = {}
    for name, value in vars(cls).items():
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        written = inspect.isfunction(value) and value.__module__ == cls.__module__
        if written and (not name.startswith("_") or name in ("__init__", "__call__")) and not is_backward(name):
            found[name] = value
    return found


def arguments(name, function):
    """[(name, kind, default)], less what may differ."""
    listed = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in listed if p.name not in OTHER_ARGUMENTS.get(name, ())]


def patterns(package, file):
    """{function or Class.method: its einops patterns in order}."""
    found = {}

    def visit(node, name):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                visit(child, f"{name}.{child.name}" if name else child.name)
                continue
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and "->" in child.value:
                found.setdefault(name, []).append(child.value)
            visit(child, name)

    visit(ast.parse((ROOT / package / f"{file}.py").read_text(encoding="utf-8")), "")
    ours = {name for name in found if is_backward(name) or f"{file}.{name.split('.')[0]}" in TORCH_HAS}
    return {name: arrows for name, arrows in found.items() if name not in ours}


def imports(path, only_at_the_top=False):
    """Every dotted name that a file imports, anywhere in it, relative ones spelled out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if only_at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = [path.parent.name] * node.level + [node.module] * bool(node.module)
            yield from (".".join([*start, alias.name]) for alias in node.names)


def test_same_files():
    ours, theirs = files("swin_numpy") - {"__init__"}, files("swin_torch") - {"__init__"}
    assert ours & theirs == TWINS | TRAINERS | NO_TWINS
    assert ours - theirs == set(NUMPY_ONLY)
    assert theirs - ours == set(TORCH_ONLY)


@pytest.mark.parametrize("file", sorted(TWINS))
def test_same_classes_and_functions(file):
    ours, theirs = (list(public(package, file)) for package in PACKAGES)
    assert [name for name in ours if f"{file}.{name}" not in TORCH_HAS] == theirs


@pytest.mark.parametrize("file", sorted(TWINS))
def test_same_methods_and_arguments(file):
    ours, theirs = (public(package, file) for package in PACKAGES)
    for name in theirs:
        if inspect.isclass(theirs[name]):
            assert list(methods(ours[name])) == list(methods(theirs[name])), name
            for method, function in methods(theirs[name]).items():
                where = f"{file}.{name}.{method}"
                assert arguments(where, methods(ours[name])[method]) == arguments(where, function), where
            assert getattr(ours[name], "__match_args__", ()) == getattr(theirs[name], "__match_args__", ())
        else:
            where = f"{file}.{name}"
            assert arguments(where, ours[name]) == arguments(where, theirs[name]), where


@pytest.mark.parametrize("file", sorted(TWINS))
def test_same_docstrings(file):
    """What a function promises is the same, less the words for the array library and its random numbers."""
    ours, theirs = (public(package, file) for package in PACKAGES)
    differ = {"SwinTransformer", "Backbone"}  # dtype, dropout's seed
    for name in set(theirs) - differ:
        assert ours[name].__doc__ == theirs[name].__doc__, name
        if inspect.isclass(theirs[name]):
            for method, function in methods(theirs[name]).items():
                assert methods(ours[name])[method].__doc__ == function.__doc__, f"{name}.{method}"


@pytest.mark.parametrize("file", sorted(TWINS))
def test_same_einops_patterns(file):
    ours, theirs = (patterns(package, file) for package in PACKAGES)
    assert ours == theirs
    assert theirs or file == "layers"  # which has none


def test_both_front_doors_offer_the_same_of_the_twin_files():
    ours, theirs = (vars(importlib.import_module(package)) for package in PACKAGES)
    made_here = {name for file in TWINS for name in public("swin_torch", file)}
    assert {name for name in ours if name in made_here} == {name for name in theirs if name in made_here}
    assert "SwinTransformer" in ours and "self_attention" in ours


@pytest.mark.parametrize("file", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "swin_numpy").rglob("*.py")))
def test_swin_numpy_imports_no_pytorch(file):
    may_in_a_function = file == "swin_numpy/weights/files.py"  # to read a pickle, where PyTorch is there
    names = set(imports(ROOT / file, only_at_the_top=may_in_a_function))
    assert not {name for name in names if name.split(".")[0] in ("torch", "swin_torch", "torchvision", "scipy")}


@pytest.mark.parametrize("file", sorted(TWINS | {"__init__"}))
def test_swin_torch_takes_from_swin_numpy_only_what_it_may(file):
    taken = {name for name in imports(ROOT / "swin_torch" / f"{file}.py") if name.split(".")[0] == "swin_numpy"}
    assert {
        name.removeprefix("swin_numpy.weights.").removeprefix("swin_numpy.").split(".")[0] for name in taken
    } <= SHARED


@pytest.mark.parametrize("file", sorted(TWINS))
def test_numpy_maths_needs_only_numpy_and_einops(file):
    names = {name.split(".")[0] for name in imports(ROOT / "swin_numpy" / f"{file}.py")}
    foreign = names - set(sys.stdlib_module_names) - {"swin_numpy"}
    assert foreign <= {"numpy", "einops"}


def closure(file):
    """The files of swin_numpy that importing `file` pulls in by relative imports, itself not counted."""
    found, to_do = set(), [ROOT / "swin_numpy" / f"{file}.py"]
    while to_do:
        path = to_do.pop()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                files = [place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)]
                files.append(place / "__init__.py")
                to_do += {other for other in files if other.exists()} - found
                found |= {other for other in files if other.exists()}
    return {str(other.relative_to(ROOT / "swin_numpy")) for other in found} - {f"{file}.py"}


@pytest.mark.parametrize(("file", "most"), [("layers", 6), ("block", 10)])
def test_importing_the_lesson_pulls_in_little_else(file, most):
    pulled_in = closure(file)
    assert {"functional.py", "gelu.py", "module.py", "weights/check.py"} <= pulled_in  # so that the count counts
    assert len(pulled_in) <= most, sorted(pulled_in)


def code_lines(path):
    """Lines of code: no blanks, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    skipped = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            skipped |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in skipped for i, line in lines)


@pytest.mark.parametrize(("file", "most"), [("block", 120), ("window_attention", 130)])
def test_the_lesson_is_short(file, most):
    assert 50 < code_lines(ROOT / "swin_numpy" / f"{file}.py") <= most
    assert len(files("swin_numpy")) <= 17


WITHOUT_TORCH = """
import importlib, pkgutil, sys

class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "swin_torch", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, NotThere())
import numpy as np
import swin_numpy
for module in pkgutil.walk_packages(swin_numpy.__path__, "swin_numpy."):
    importlib.import_module(module.name)
config = swin_numpy.SwinConfig(img_size=32, embed_dim=6, depths=(2, 2), num_heads=(1, 2), window_size=3, num_classes=4)
model = swin_numpy.SwinTransformer(config)
assert model(np.ones((2, 3, 32, 32), np.float32)).shape == (2, 4)
a = swin_numpy.self_attention(*(np.ones((3, 3)) for _ in range(4)))
assert a.Z.shape == (3, 3)
print("done")
"""


def test_swin_numpy_runs_where_pytorch_cannot_be_imported():
    result = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "done", result.stderr
