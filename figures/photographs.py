"""The photographs that come with the package. Titles, authors and licences: figures/photos/LICENSES.md."""

from pathlib import Path

PHOTOS = {path.stem: path for path in sorted((Path(__file__).parent / "photos").glob("*.jpg"))}


def photo_path(name):
    """Path of the photograph `name`, such as "chelsea". Raises ValueError that lists the names there are."""
    if name not in PHOTOS:
        raise ValueError(f"unknown photograph {name!r}; expected one of: {', '.join(PHOTOS)}")
    return PHOTOS[name]
