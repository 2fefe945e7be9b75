"""Pictures: the photographs that ship with the package, and drawing functions: arrays in, a figure out.

One file for each subject (attention, windows, bias, model, training, speed, …); style holds the colours and `save`;
pictures makes the gallery. No model code.
"""

from .photographs import PHOTOS, photo_path
from .style import COLORS, GALLERY, save

__all__ = ["COLORS", "GALLERY", "PHOTOS", "photo_path", "save"]
