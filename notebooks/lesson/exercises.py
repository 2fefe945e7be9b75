"""Trying a learner's answers: `check` says what is wrong with one, `solution` shows ours."""

import importlib.util
import inspect
from html import escape
from pathlib import Path

from IPython.display import HTML, display

FOLDER = Path(__file__).parents[1] / "exercises"


class NotWritten(Exception):
    """The learner's function still gives nothing back."""


def check(number, answer):
    """Try `answer` on exercise `number` ("01.2") and say whether it is right, or what is wrong. Never raises."""
    hint = hint_for(number, answer)
    print(f"✓ {number}: right" if hint is None else hint)


def hint_for(number, answer):
    """None if `answer` is right, else one line to print."""
    try:
        hint = exercise(number, "check")(expect_result(answer))
    except NotWritten:
        return f"○ {number}: not written yet. Replace the … above, then run the cell again."
    except Exception as error:
        return f"✗ {number}: your code stopped with {type(error).__name__}: {' '.join(str(error).split())}"
    return None if hint is None else f"✗ {number}: {hint}"


def expect_result(answer):
    """`answer`, made to raise NotWritten where it, or what it returns, is None or Ellipsis."""
    if answer is None or answer is ...:
        raise NotWritten
    if not callable(answer):
        return answer

    def asked(*inputs, **options):
        result = answer(*inputs, **options)
        if result is None or result is ...:
            raise NotWritten
        return result

    return asked


def solution(number):
    """Show the solution of exercise `number`, folded away until it is clicked."""
    code = escape(inspect.getsource(exercise(number, "solution")), quote=False)
    display(HTML(f"<details><summary>Solution of {number}</summary><pre>{code}</pre></details>"))


def exercise(number, kind):
    """The function `kind` ("check" or "solution") of an exercise such as "01.2"."""
    chapter, _, k = number.partition(".")
    spec = importlib.util.spec_from_file_location(f"exercises_ch{chapter}", FOLDER / f"ch{chapter}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, f"{kind}_{k}")
