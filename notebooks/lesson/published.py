"""Published weights in a chapter: used where they are in the cache, and never downloaded by a page."""

from typing import NamedTuple

from swin_numpy import HubError, Preprocessing, load_with_config
from swin_numpy.pictures.classes import names_in
from swin_numpy.weights.hub import fetch


class Published(NamedTuple):
    """folder: for from_pretrained of either package. prepare: a PIL image → images. classes: their names."""

    folder: object
    prepare: Preprocessing
    classes: tuple[str, ...]


def published(name):
    """Published weights if they are in the cache, else None; prints which of both this page shows.

    name: as for SwinTransformer.from_pretrained. Nothing is downloaded.
    """
    try:
        folder = fetch(name, local_files_only=True)
    except HubError:
        print(f"This page was made without the published weights of {name}.")
        print("To download them and name a photograph:")
        print(f"  python -m swin_numpy figures/photos/chelsea.jpg --pretrained {name}")
        return None
    print(f"This page was made with the published weights of {name}.")
    _, config = load_with_config(folder)
    return Published(folder, Preprocessing.from_pretrained(folder), names_in(folder, config))
