"""Plots of numbers: curves and marks where the numbers are."""

import numpy as np
import pytest

from figures import measure, style
from tests.drawings import (
    RNG,
    check_page,
    every,
    refused,
    words,
)

PICTURES = {
    "disagreement": lambda: measure.disagreement(
        ["patch_embed", *(f"layers.{i}.blocks.{j}" for i in range(4) for j in range(2)), "norm", "head"],
        {"float64": RNG.random(11) * 1e-15 * (np.arange(11) > 0), "float32": RNG.random(11) * 1e-6},
    ),
    "disagreement_short": lambda: measure.disagreement(["embed", "stage"], {"float32": np.array([1e-7, 2e-7])}),
    "curves": lambda: measure.curves({"training": 1 / np.arange(1, 60), "test": RNG.random(59)}),
    "curves_of_plots": lambda: measure.curves(
        {"a": {"NumPy": [1, 0.1], "PyTorch": [1, 0.2]}, "b": {"NumPy": [1e6, 1], "PyTorch": [1e3, 2]}},
        "step",
        ["loss", "bytes"],
        x=[10, 100_000],
        logx=True,
        logy=True,
        marks={"a": {"here": 200}},
        note="two cores",
    ),
    "disagreement_steps": lambda: measure.disagreement(["a", "b"], {"float32": [1e-7, 2e-7]}, steps={"float32": 1e-7}),
    "curves_log": lambda: measure.curves(
        {"NumPy": [1, 0.1], "PyTorch": [1, 0.2]}, "step", "loss", x=[1, 5], logy=True, title="two"
    ),
    "bars": lambda: measure.bars({"tench": 0.61, "goldfish": 0.3, "great white shark": 0.012}, "probability"),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: measure.disagreement(["a"], {"float32": np.ones(2)}),
        lambda: measure.curves({}),
        lambda: measure.bars({}),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def lines_of(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_curves_lie_where_their_numbers_are():
    x = np.linspace(1, 6, 5)
    plots = {"left": {"a": x, "b": x**2}, "right": {"": 3 * x}}
    left, right = measure.curves(plots, "x", ["y", "z"], x=x, marks={"here": 4.0}).axes
    np.testing.assert_allclose(lines_of(left)["b"], np.stack([x, x**2], 1))
    np.testing.assert_allclose(right.lines[0].get_ydata(), 3 * x)
    for axes in (left, right):
        assert list(axes.lines[-1].get_xdata()) == [4.0, 4.0] and words(axes) == ["here"]
    assert left.get_legend() and not right.get_legend()
    assert [axes.get_ylabel() for axes in (left, right)] == ["y", "z"]


def test_marks_of_one_plot_stay_there():
    plots = {"time": {"a": [1, 2], "b": [2, 1]}, "memory": {"a": [1, 2], "b": [2, 1]}}
    figure = measure.curves(plots, x=[1, 10], logx=True, marks={"time": {"equal": 3.0}, "memory": {}})
    assert [words(axes) for axes in figure.axes] == [["equal"], []]
    assert len(figure.legends) == 1 and len(figure.legends[0].get_texts()) == 2
    assert figure.axes[0].lines[1].get_color() == figure.axes[1].lines[1].get_color()


def test_guides_are_grey_and_stay_near_the_curves():
    steps = 10.0 ** np.arange(-6, 1)
    errors, guides = {"one": steps, "both": steps**2 + 1e-9}, {"h": steps, "1/h": 1e-12 / steps}
    (axes,) = measure.curves(errors, x=steps, logx=True, logy=True, guides=guides).axes
    assert list(lines_of(axes)) == ["one", "both", "h", "1/h"]
    drawn = lines_of(axes)["1/h"]
    kept = np.isfinite(drawn[:, 1])
    np.testing.assert_allclose(drawn[kept, 1] * drawn[kept, 0], 1e-12)
    assert kept.any() and not kept.all() and axes.lines[3].get_color() == style.GREY


def test_a_single_curve_needs_no_legend():
    assert not measure.curves({"a": [1, 2]}).axes[0].get_legend()
    assert measure.curves({"a": [1, 2], "b": [2, 1]}).axes[0].get_legend()


def test_disagreement_says_what_its_numbers_are():
    figure = measure.disagreement(["a", "b"], {"float16": [1e-3, 2e-3]}, "difference / value\n(NumPy in float32)")
    assert (
        figure.alt
        == "The twins after each of 2 layers: difference / value (NumPy in float32). The largest: float16 2.0e-03."
    )


def test_disagreement_draws_zero_hollow_and_the_rounding_step_dashed():
    figure = measure.disagreement(["a", "b", "c"], {"float64": [1e-15, 0, 3e-15]}, steps={"float64": 2e-16})
    line, zeros, step = figure.axes[0].lines
    assert line.get_ydata()[0] == 1e-15 and line.get_ydata()[2] == 3e-15
    assert list(zeros.get_xdata()) == [1] and zeros.get_markerfacecolor() == "white"
    assert list(step.get_ydata()) == [2e-16, 2e-16]


def test_numbers_on_the_axis_are_short():
    assert [measure.short_number(2**k) for k in (3, 12, 16, 21)] == ["8", "4096", "66k", "2.1M"]
