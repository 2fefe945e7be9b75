"""What chapters import from `lesson`: agree, contents."""

import numpy as np
import pytest

from notebooks import lesson


def test_agree_measures_the_relative_difference(capsys):
    torch = pytest.importorskip("torch")
    lesson.agree("halves", np.array([1.0, 200.0 + 2e-9]), torch.tensor([1.0, 200.0], dtype=torch.float64))
    assert capsys.readouterr().out == "✓ halves: same shape (2,), largest relative difference 1e-11\n"
    lesson.agree("minus infinity", [-np.inf, 1.0], [-np.inf, 1.0])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0, 2.1], "largest relative difference 0.048"),
        ([[1.0]], [1.0], "expected one shape"),
        ([1.0, np.nan], [1.0, 2.0], "difference nan"),
        ([np.nan], [np.nan], "difference nan"),
        ([np.inf], [1.0], "difference inf"),
        ([0.0], [1e-9], "difference 1"),
    ],
)
def test_agree_refuses(a, b, message):
    with pytest.raises(AssertionError, match=message):
        lesson.agree("x", a, b)
