"""Drawing functions: arrays in, a Matplotlib figure out. No model code.

attention, windows, bias, model, measure hold the pictures by topic; style the colours and `save`.
"""

from .style import COLORS, GALLERY, save

__all__ = ["COLORS", "GALLERY", "save"]
