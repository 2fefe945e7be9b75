"""Pictures: the photographs that ship with the package, and the functions that draw."""

from .photographs import PHOTOS, photo_path

__all__ = ["PHOTOS", "photo_path"]
