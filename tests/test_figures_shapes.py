"""figures.shapes: the steps and shapes that were given are what is written, in order, inside the page."""

import pytest

from figures.shapes import shape_line


def test_every_step_and_shape_is_written_in_order_and_inside_the_page():
    steps = [(f"a step {k} of many", (2, 3, 56, 10 * k)) for k in range(9)]
    figure = shape_line(steps)
    texts = [(text.get_text(), *text.get_position()) for text in figure.axes[0].texts]
    names = [text for text, _, _ in texts if text.startswith("a step")]
    assert names == [name for name, _ in steps]
    assert [text for text, _, _ in texts if text.startswith("(")] == [f"(2, 3, 56, {10 * k})" for k in range(9)]
    assert all(f"{name} (2, 3, 56, {10 * k})" in figure.alt for k, (name, _) in enumerate(steps))
    figure.draw_without_rendering()
    right = figure.axes[0].get_window_extent().x1
    assert all(text.get_window_extent().x1 < right for text in figure.axes[0].texts)


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        shape_line([])
