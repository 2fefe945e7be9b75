"""Pictures of a block."""

import numpy as np
import pytest

from figures import block
from tests.drawings import RNG, check_page, every, refused

PICTURES = {
    "kept": lambda: block.kept_branches(RNG.random((3, 4, 2)) > 0.5, "title"),
    "block_diagram": lambda: block.block_diagram(),
    "block_diagram_v2": lambda: block.block_diagram(2, "W-MSA"),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: block.block_diagram(3),
        lambda: block.kept_branches(np.ones((3, 4), bool)),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)
