"""Sliders and step buttons, with pictures that stay on a page without a kernel."""

from IPython.display import display


def slider(draw, **ranges):
    """Show `draw(name=value, …)`, a figure, with a slider for each name: name=(low, high[, step]) or (low, high, step,
    start). On a page without a running kernel the picture of the first values stays.
    """
    from ipywidgets import FloatSlider, IntSlider, VBox

    sliders = {}
    for name, (low, high, *rest) in ranges.items():
        step = rest[0] if rest else 1
        kind = IntSlider if all(isinstance(value, int) for value in (low, high, step)) else FloatSlider
        start = rest[1] if len(rest) > 1 else low
        sliders[name] = kind(value=start, min=low, max=high, step=step, description=name, continuous_update=False)

    def figure():
        return draw(**{name: bar.value for name, bar in sliders.items()})

    display(VBox(list(sliders.values())))
    picture = display(figure(), display_id=True)
    for bar in sliders.values():
        bar.observe(lambda _: picture.update(figure()), "value")
