"""Pictures: arrays in, a Matplotlib figure out; and the photographs that ship with the package. No model code.

attention, windows, bias, model, measure hold the pictures by topic; style the colours and `save`.
"""

from .photographs import PHOTOS, photo_path
from .style import COLORS, GALLERY, save

__all__ = ["COLORS", "GALLERY", "PHOTOS", "photo_path", "save"]
