"""Chapters without PyTorch: what needs it is left out, what doesn't runs, and every cell says what it lacks."""

import ast
import subprocess
import sys

import nbformat

from notebooks import build, chapters
from notebooks.lab.without_torch import WithoutTorch


def left(without, code):
    return ast.unparse(without.visit(ast.parse(code)))


def test_what_uses_torch_and_what_follows_from_it_is_left_out():
    without = WithoutTorch()
    assert left(without, "import numpy as np\nimport torch\nimport torch.nn.functional as F") == "import numpy as np"
    assert left(without, "from swin_torch.train import Trainer as T\nimport swin_numpy") == "import swin_numpy"
    kept = left(without, "a = np.ones(2)\nb = F.relu(torch.tensor(a))\nagree('x', a, b)\nprint(a)")
    assert kept.startswith("print('○ Left out, for want of PyTorch (make lab TORCH=cpu): 2 of 4 statements.")
    assert kept.endswith("a = np.ones(2)\nprint(a)")
    assert "print(b)" not in left(without, "print(b)") and "T(" not in left(without, "T(1)")
    assert left(without, "b = 1") == "b = 1" and left(without, "print(b)") == "print(b)"
    assert left(without, "def f(x):\n    return torch.tensor(x)").count("\n") == 0
    assert "f(2)" not in left(without, "y = f(2)")


def test_loops_and_comprehensions_keep_their_names_to_themselves():
    without = WithoutTorch()
    left(without, "import torch\nimport numpy as np")
    assert left(without, "state = {}\nx = {name: torch.ones(1) for name in state}").endswith("state = {}")
    loop = "for name in ('a', 'b'):\n    state[name] = 0"
    assert left(without, loop) == loop and left(without, "print(state)") == "print(state)"


def test_what_a_dropped_statement_would_have_changed_is_gone_too():
    without = WithoutTorch()
    left(without, "import torch\nimport numpy as np\nmodel, a = Model(), np.ones(2)")
    left(without, "model.load_state_dict({'w': torch.ones(1)})\na[0] = torch.ones(1)[0]\nb = np.sum(torch.ones(2))")
    assert "model(1)" not in left(without, "model(1)") and "print(a)" not in left(without, "print(a)")
    assert left(without, "c = np.ones(1)") == "c = np.ones(1)"


def test_a_chapter_runs_without_torch(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", str(chapters.FOLDER / "lab" / "startup.py"))
    source = next(path for path in chapters.sources() if path.name.startswith("03"))
    notebook = chapters.read_source(source)
    check = "import sys\nassert 'torch' not in sys.modules, 'torch was imported'"
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    build.run(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = [cell for cell in code if any("for want of PyTorch" in output.get("text", "") for output in cell.outputs)]
    assert 0 < len(said) < len(code) / 2


def test_a_name_that_is_only_added_to_is_missing_where_it_was_dropped():
    without = WithoutTorch()
    left(without, "import torch\nwork = torch.ones(1)")
    assert "work" not in left(without, "work += 1\nprint(work)").replace("want", "")


def test_a_generator_that_a_dropped_statement_drew_from_goes_on():
    without = WithoutTorch()
    left(without, "import torch\nimport numpy as np\nrng, other = np.random.default_rng(0), []")
    left(without, "x = torch.tensor(rng.normal(size=3))\nother.append(x)")
    assert left(without, "y = rng.normal()") == "y = rng.normal()"
    assert "print" not in left(without, "len(other)").replace("print('○", "")


def test_every_exercise_and_the_ablations_load_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no PyTorch here')")
    numbers = [path.name[2:4] for path in (chapters.FOLDER / "exercises").glob("ch*.py")]
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, '.']\nimport notebooks.ablations\n"
    code += "from notebooks.lesson import exercises\n"
    code += f"for number in {numbers}:\n    exercises.exercise(number + '.1', 'check')"
    done = subprocess.run([sys.executable, "-c", code], cwd=chapters.FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
