"""The browser edition of the chapters as text, and our reader of safetensors files against the real one. No browser."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from docs.lite.edition import edition, fenced
from notebooks import chapters
from notebooks.lab.without_torch import imports_torch
from swin_numpy.training.fashion_mnist import TRAINED

PICTURE = {"output_type": "display_data", "metadata": {"image/png": {"alt": "A cat."}}, "data": {"image/png": "iVBO\n"}}


def cell(text, *outputs):
    return {"cell_type": "code", "source": [text], "metadata": {}, "execution_count": 3, "outputs": list(outputs)}


def said(text):
    return {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}


def of(*cells, exists=lambda target: True):
    """The cells of the edition behind the two that it begins with."""
    return edition({"cells": list(cells), "metadata": {}}, exists)["cells"][2:]


# What needs PyTorch


def test_a_cell_without_torch_stays_as_it_is_with_its_stored_output():
    (found,) = of(cell("print(1)\nprint(2)", said("1\n2\n")))
    assert found["source"] == "print(1)\nprint(2)" and found["execution_count"] is None
    assert found["outputs"] == [said("1\n2\n") | {"text": "1\n2\n"}]


def test_an_import_of_torch_goes_without_a_word():
    (found,) = of(cell("import numpy as np\n# The twin.\nimport torch\n\nx = np.ones(2)"))
    assert found["cell_type"] == "code" and found["source"] == "import numpy as np\n\nx = np.ones(2)"
    assert of(cell("import torch")) == []


def test_a_cell_that_needs_torch_becomes_a_note_with_code_text_and_picture():
    code = "y = torch.ones(2)\nprint(y)"
    _, found = of(cell("import torch\nx = 1"), cell(code, said("tensor([1., 1.])\n"), PICTURE))
    assert found["cell_type"] == "markdown" and "Needs PyTorch" in found["source"]
    assert fenced(code, "python") in found["source"] and fenced("tensor([1., 1.])") in found["source"]
    assert "![A cat.](attachment:picture-0.png)" in found["source"]
    assert found["attachments"] == {"picture-0.png": {"image/png": "iVBO"}}


def test_what_runs_of_a_mixed_cell_runs_and_what_follows_from_torch_does_not():
    code = "ours = f(x)\n# the twin\ntheirs = torch.ones(2)\nagree(ours, theirs)\nprint(ours)"
    runs, note, last = of(cell("import torch"), cell(code, said("1\n")), cell("print(theirs)", said("2\n")))
    assert runs["source"] == "ours = f(x)\nprint(ours)" and runs["outputs"] == []
    assert code in note["source"] and fenced("1") in note["source"]
    assert last["cell_type"] == "markdown"


def test_two_statements_on_one_line_are_told_apart():
    runs, _ = of(cell("import torch; a = 1\nb = 2; c = torch.ones(1)"))
    assert ast.unparse(ast.parse(runs["source"])) == "a = 1\nb = 2"


@pytest.mark.parametrize("path", sorted(chapters.FOLDER.glob("[0-9]*.ipynb")), ids=lambda path: path.name[:2])
def test_no_cell_of_a_chapter_that_runs_names_torch(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = edition(notebook, lambda target: True)["cells"]
    code = [ast.parse(cell["source"], path.name, mode="exec") for cell in cells[2:] if cell["cell_type"] == "code"]
    names = {node.id for tree in code for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not {"torch", "swin_torch"} & names
    assert not any(imports_torch(node) for tree in code for node in ast.walk(tree))
    assert len(code) > len(notebook["cells"]) / 8
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert [cell["source"] for cell in cells if cell["source"] in texts] == texts  # prose and its order stay


def test_links_to_what_is_not_there_become_text():
    text = "[a](a.md#x) [b](b.md) [web](https://a.b) [here](#there) ![picture](a.png)"
    (found,) = of({"cell_type": "markdown", "source": [text], "metadata": {}}, exists={"a.md", "a.png"}.__contains__)
    assert found["source"] == "[a](a.md#x) b [web](https://a.b) [here](#there) ![picture](a.png)"


# Reading safetensors


@pytest.fixture
def ours(monkeypatch):
    """The stand-in and its part that writes, without hiding the real package."""
    folder, found = Path(__file__).parents[1] / "docs" / "lite" / "safetensors", []
    for name, file in (("stand_in", "__init__.py"), ("stand_in.numpy", "numpy.py")):
        spec = importlib.util.spec_from_file_location(name, folder / file)
        found.append(importlib.util.module_from_spec(spec))
        monkeypatch.setitem(sys.modules, name, found[-1])
        spec.loader.exec_module(found[-1])
    return found


def everything():
    rng = np.random.default_rng(4)
    kinds = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
    return {f"of.{kind}": (9 * rng.normal(size=(2, 3 + k))).astype(kind) for k, kind in enumerate(kinds)} | {
        "empty": np.zeros((0, 3), "f4"),
        "scalar": np.array(2.5),
    }


def read(package, path):
    """(metadata, arrays) as safe_open of this package gives them."""
    with package.safe_open(path, "np") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def same(a, b):
    return (
        a[0] == b[0]
        and list(a[1]) == list(b[1])
        and all(
            x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y)
            for x, y in zip(a[1].values(), b[1].values(), strict=True)
        )
    )


@pytest.mark.parametrize("metadata", [None, {"config": "{}", "ü": "ß"}])
def test_reads_what_the_real_one_writes_and_the_other_way_round(tmp_path, ours, metadata):
    arrays = everything()
    save_file(arrays, tmp_path / "theirs", metadata)
    ours[1].save_file(arrays, tmp_path / "ours", metadata)
    real = read(safetensors, tmp_path / "theirs")
    assert same(read(ours[0], tmp_path / "theirs"), real) and real[0] == metadata
    assert same(read(safetensors, tmp_path / "ours"), real) and same(read(ours[0], tmp_path / "ours"), real)


def test_writes_an_array_of_any_order_by_rows(tmp_path, ours):
    turned = np.arange(6.0).reshape(2, 3).T
    ours[1].save_file({"turned": turned, "big": turned.astype(">f8")}, tmp_path / "file")
    assert all(np.array_equal(array, turned) for array in read(safetensors, tmp_path / "file")[1].values())


def test_reads_the_shipped_weights(ours):
    assert same(read(ours[0], TRAINED), read(safetensors, TRAINED))


def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "small"
    save_file({"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(4, "i2")}, path, {"x": "y"})
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_refuses_what_the_real_one_refuses(tmp_path_factory, ours, data):
    content = bytearray(small_file(tmp_path_factory))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=3))
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'019a{}[]":, \xff'))
    path = tmp_path_factory.mktemp("file") / "broken"
    path.write_bytes(content)
    try:
        real = read(safetensors, path)
    except safetensors.SafetensorError:
        real = None
    if real is None:
        with pytest.raises(ours[0].SafetensorError):
            read(ours[0], path)
    else:
        assert same(read(ours[0], path), real)


def test_unknown_names_and_missing_files_are_errors(tmp_path, ours):
    with pytest.raises(OSError):
        ours[0].safe_open(tmp_path / "none", "np")
    save_file({"a": np.ones(2)}, tmp_path / "file")
    with ours[0].safe_open(tmp_path / "file", "np") as file, pytest.raises(ours[0].SafetensorError, match="'b'"):
        file.get_tensor("b")
    assert load_file(tmp_path / "file")["a"].tolist() == [1, 1]
