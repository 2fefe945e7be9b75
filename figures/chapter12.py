"""Pictures of chapter 12: curves side by side, coordinates of offsets, a bias beyond the window it was learned at."""

import numpy as np

from .measure import color_of
from .style import GREY, PAGE, QUERY, SEQUENTIAL, as_array, panels, styled


@styled
def beside_each_other(x, plots, xlabel="", marks=None):
    """Curves over the same x (n,), plots side by side: {title: {name: values (n,)}}; marks: {label: place on x}."""
    x = as_array("x", x, (None,))
    figure, axes = panels(1, len(plots), (PAGE, 3.2))
    for panel, (title, series) in zip(axes[0], plots.items(), strict=True):
        for index, (name, values) in enumerate(series.items()):
            values = as_array(name or title, values, x.shape)
            panel.plot(x, values, color=color_of(name, index), label=name)
        for label, place in (marks or {}).items():
            panel.axvline(place, color=GREY, linestyle=":", linewidth=1.4)
            panel.text(place, 1.0, f"{label} ", transform=panel.get_xaxis_transform(), ha="right", va="top", fontsize=9)
        panel.set(title=title, xlabel=xlabel)
        panel.margins(y=0.14 if marks else 0.05)  # room for their labels
        panel.grid(True)
        if any(series):
            panel.legend()
    return figure


@styled
def coordinates(offsets, series, known):
    """What a network is told of each offset (n,): {name: coordinates (n,)}; dotted lines at ±known."""
    offsets = as_array("offsets", offsets, (None,))
    figure, axes = panels(1, 1, (7, 3.6))
    panel = axes[0, 0]
    for index, (name, values) in enumerate(series.items()):
        values = as_array(name, values, offsets.shape)
        panel.plot(offsets, values, "o-", color=color_of(name, index), label=name, markersize=4)
    for place in (-known, known):
        panel.axvline(place, color=GREY, linestyle=":", linewidth=1.6)
    panel.set(xlabel="offset in tokens", ylabel="coordinate")
    panel.grid(True)
    panel.legend()
    return figure


@styled
def bias_beyond(maps, known, columns=3):
    """Biases by offset {title: (2M - 1, 2M - 1)} to one scale, dark is high; a frame around offsets up to `known`."""
    if not maps:
        raise ValueError("maps: expected {title: map}, got none")
    maps = {title: as_array(title, values, (None, None)) for title, values in maps.items()}
    low = min(float(values.min()) for values in maps.values())
    high = max(float(values.max()) for values in maps.values())
    rows = -(-len(maps) // columns)
    figure, axes = panels(rows, columns, (PAGE, rows * PAGE / columns * 0.93))
    for panel in axes.ravel()[len(maps) :]:
        panel.axis("off")
    for panel, (title, values) in zip(axes.ravel(), maps.items(), strict=False):
        h, w = (side // 2 for side in values.shape)
        extent = (-w - 0.5, w + 0.5, h + 0.5, -h - 0.5)
        shown = panel.imshow(values, SEQUENTIAL, vmin=low, vmax=high, extent=extent, interpolation="nearest")
        edge = known + 0.5
        panel.plot([-edge, edge, edge, -edge, -edge], [-edge, -edge, edge, edge, -edge], color=QUERY, lw=1.6)
        limit = np.array([-1, 1]) * (max(len(map_) for map_ in maps.values()) / 2 + 0.3)
        panel.set(xlim=limit, ylim=limit[::-1], xticks=(-w, 0, w), yticks=(-h, 0, h))
        panel.set_title(title, fontsize=10.5)
    figure.supxlabel("column offset", fontsize=10)
    figure.supylabel("row offset", fontsize=10)
    figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.02, label="bias, its maximum set to 0")
    return figure
