"""Pictures of training: both curves, mistakes in colour, every seed as a point."""

import numpy as np
import pytest

from figures.training import confusion, in_step, runs, seeds
from tests.drawings import RNG as rng


def points(panel):
    return [line.get_xydata() for line in panel.lines]


def test_in_step_draws_both_curves_and_leaves_out_what_a_log_scale_has_no_place_for():
    losses = {"NumPy": rng.random(5), "PyTorch": rng.random(5)}
    differences = {"loss": np.array([0, 1e-16, 1e-15, 0, 1e-14]), "weights": np.full(5, 1e-12)}
    left, right = in_step(losses, differences).axes
    for drawn, values in zip(points(left), losses.values(), strict=True):
        np.testing.assert_allclose(drawn[:, 1], values)
    np.testing.assert_allclose(points(right)[0][:, 1], [np.nan, 1e-16, 1e-15, np.nan, 1e-14])
    np.testing.assert_allclose(points(right)[1][:, 1], 1e-12)
    assert right.get_yscale() == "log" and right.get_ylim()[0] <= 1e-16 and right.get_ylim()[1] >= 1e-12
    with pytest.raises(ValueError, match="PyTorch: expected an array of shape"):
        in_step(losses | {"NumPy": np.zeros(4)}, differences)


def test_confusion_writes_each_count_where_it_belongs_and_colours_mistakes_only():
    counts = np.array([[50, 7, 0], [1, 40, 2], [0, 3, 60]])
    (panel,) = confusion(counts, ["a", "b", "c"]).axes
    assert [text.get_text() for text in panel.texts] == [str(count) for count in counts.ravel()]
    fill = np.asarray(panel.images[0].get_array())
    assert len({tuple(fill[k, k]) for k in range(3)}) == 1
    assert fill[0, 1].sum() < fill[2, 1].sum() < fill[1, 2].sum() < fill[1, 0].sum() < fill[0, 2].sum()
    with pytest.raises(ValueError, match="counts: expected"):
        confusion(counts, ["a", "b"])


def test_seeds_draws_every_seed_the_mean_and_the_span_of_the_first():
    (panel,) = seeds({"full": [0.8, 0.9], "off": [0.7, 0.75, 0.71]}).axes
    mean_full, full, mean_off, off = points(panel)
    np.testing.assert_allclose(mean_full, [[0.85, -0.3], [0.85, 0.3]])
    np.testing.assert_allclose(full, [[0.8, 0], [0.9, 0]])
    np.testing.assert_allclose(mean_off[:, 0], 0.72)
    np.testing.assert_allclose(off[:, 0], [0.7, 0.75, 0.71])
    band = panel.patches[0]
    np.testing.assert_allclose([band.get_x(), band.get_x() + band.get_width()], [0.8, 0.9])
    assert [label.get_text() for label in panel.get_yticklabels()] == ["full", "off"]


def test_runs_draws_a_line_for_each_seed_and_names_each_variant_once():
    series = {"a": [([0, 1], [3, 2]), ([0, 1], [4, 1])], "b": [([0, 2], [5, 5])]}
    figure = runs(series)
    assert [line[:, 1].tolist() for line in points(figure.axes[0])] == [[3, 2], [4, 1], [5, 5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    a, second, b = figure.axes[0].lines
    assert a.get_color() == second.get_color() != b.get_color()


@pytest.mark.parametrize("draw", [seeds, runs])
def test_without_results_the_picture_says_so(draw):
    (panel,) = draw({}).axes
    assert "not trained yet" in panel.texts[0].get_text()
