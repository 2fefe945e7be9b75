"""Pictures of the whole model."""

import numpy as np
import pytest

from figures import model
from tests.drawings import (
    GRID,
    check_page,
    every,
    refused,
)

SWIN_T = dict(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window_size=7, classes=1000)
STAGES = [("stage 1", 96, (56, 56)), ("stage 2", 192, (28, 28)), ("stage 3", 384, (14, 14)), ("stage 4", 768, (7, 7))]

PICTURES = {
    "merging": lambda: model.merging(np.arange(16).reshape(4, 4)),
    "pyramid": lambda: model.pyramid(STAGES, 7),
    "architecture": lambda: model.architecture(224, 4, **SWIN_T),
    "architecture_v2": lambda: model.architecture((256, 192), 4, **SWIN_T, version=2),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: model.merging(GRID[:3]),
        lambda: model.merging(GRID, order=((0, 0), (0, 0), (0, 1), (1, 1))),
        lambda: model.pyramid([]),
        lambda: model.architecture(224, 4, 96, (2, 2), (3, 6, 12), 7, 1000),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)
