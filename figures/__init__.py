"""Pictures: the photographs that ship with the package, and drawing functions: arrays in, a figure out.

attention, windows, bias, model and measure hold the drawings by topic; style the colours and `save`; no model code.
"""

from .photographs import PHOTOS, photo_path
from .style import COLORS, GALLERY, save

__all__ = ["COLORS", "GALLERY", "PHOTOS", "photo_path", "save"]
