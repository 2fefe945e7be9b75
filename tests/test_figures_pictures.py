"""The gallery: from the real package, by the command."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import swin_numpy
from figures import pictures
from figures.__main__ import main
from tests.drawings import RNG, same_window, tiles

SLOW = {"cost", "disagreement"}  # they measure
GALLERY = pictures.Gallery()  # random weights do for a test


def test_who_sees_whom_is_the_true_windows():
    for shift in (0, 2):
        assert np.array_equal(pictures.who_sees_whom(8, 8, 4, shift), same_window(8, 4, shift))


def test_sides_of_the_seam_give_the_real_mask():
    labels = tiles(pictures.sides_of_the_seam(14, 21, 3), 7)
    mask = swin_numpy.shift_mask(14, 21, 7, 3)
    assert np.array_equal(mask != 0, labels[:, :, None] != labels[:, None])


def test_multiply_adds_are_the_papers():
    """Table 1 of the paper: 4.5 G for Swin-T, 8.7 G for Swin-S, 15.4 G for Swin-B, 47.0 G for Swin-B at 384."""
    names = (
        "tiny_patch4_window7_224",
        "small_patch4_window7_224",
        "base_patch4_window7_224",
        "base_patch4_window12_384",
    )
    for name, published in zip(names, (4.5, 8.7, 15.4, 47.0), strict=True):
        ours = sum(pictures.multiply_adds(swin_numpy.get_config(f"swin_{name}")).values()) / 1e9
        assert abs(ours - published) < 0.1, (name, ours)


def test_row_on_map_reads_the_row_of_the_query():
    weights = RNG.random((4, 3, 16, 16))  # an 8 x 8 map in windows of 4 x 4
    maps = pictures.row_on_map(weights, (5, 2), (8, 8), 4)
    assert np.array_equal(maps[:, 4:, :4].reshape(3, 16), weights[2, :, 6])
    assert np.isnan(maps).sum() == 3 * 48


def test_attention_weights_are_those_of_the_model():
    gallery = pictures.Gallery()
    weights = pictures.attention_weights(gallery, 2, 4)
    assert weights.shape == (4, 12, 49, 49)
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)


def test_the_command_draws_what_it_is_asked_for(tmp_path, capsys):
    main(["--only", "masks", "attention_on_photograph", "--folder", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.png", "masks.svg"]
    assert "attention_on_photograph: left out, needs --weights" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "masks.png").mkdir()
    for only, options in (
        ("bias_tables", ["--folder", str(tmp_path), "--weights", str(tmp_path / "none.npz")]),
        ("masks", ["--folder", str(tmp_path / "file" / "gallery")]),
        ("masks", ["--folder", str(tmp_path)]),
    ):
        assert main(["--only", only, *options]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("python -m figures: ") and str(tmp_path) in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "masks.png"]


@pytest.mark.parametrize("name", sorted(set(pictures.PICTURES) - SLOW))
def test_gallery_picture_draws(name):
    FigureCanvasAgg(pictures.PICTURES[name](GALLERY)).draw()
