"""Chapters with and without published weights in the cache."""

import json

import numpy as np
import pytest

import swin_numpy
from notebooks import chapters, lesson
from swin_numpy import SwinConfig

NAME = "swin_tiny_patch4_window7_224"
SMALL = SwinConfig(img_size=32, embed_dim=8, depths=(1, 1), num_heads=(2, 4), window_size=4)
SETTINGS = {
    "architecture": NAME,
    "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 0.9},
    "model_args": {"img_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
}


@pytest.fixture(params=["in the cache", "not in the cache"])
def cached(request, hub, tmp_path, monkeypatch):
    """Whether the cache has the weights of NAME (small ones); then the hub is gone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    if request.param == "in the cache":
        swin_numpy.SwinTransformer(SMALL, seed=1).save_pretrained(tmp_path / "model", "timm")
        (tmp_path / "model" / "config.json").write_text(json.dumps(SETTINGS))
        hub.upload_folder("timm/swin_tiny_patch4_window7_224.ms_in1k", tmp_path / "model")
        swin_numpy.SwinTransformer.from_pretrained(NAME)
    hub.requests.clear()
    yield request.param == "in the cache"
    assert not hub.requests  # a page downloads nothing


def test_published_says_which_of_both_a_page_shows(cached, capsys):
    found = lesson.published(NAME)
    said = capsys.readouterr().out
    assert (found is not None) == cached
    assert said.startswith(f"This page was made with{'' if cached else 'out'} the published weights of {NAME}.\n")
    assert ("--pretrained" in said) != cached
    if cached:
        assert found.prepare.cover == (35, 35) and len(found.classes) == 1000
        assert swin_numpy.SwinTransformer.from_pretrained(found.folder).config.depths == (1, 1)


def cell_of(chapter):
    """The code of the chapter's one cell that asks for published weights."""
    (source,) = [path for path in chapters.sources() if path.name.startswith(chapter)]
    cells = chapters.read_source(source).cells
    (code,) = [cell.source for cell in cells if cell.cell_type == "code" and "published(" in cell.source]
    return code


def test_the_cell_of_chapter_08_runs_either_way(cached, capsys):
    start = (
        "import numpy as np\nfrom figures import photo_path\nfrom notebooks.lesson import published\n"
        "from swin_numpy import SwinTransformer\nfrom swin_numpy.functional import softmax\n"
        "from swin_numpy.pictures.images import load_image\n"
        "from swin_numpy.training.fashion_mnist import CLASSES, SUBSET, TRAINED, fashion_mnist, standardise\n"
        "trained, right = SwinTransformer.from_checkpoint(TRAINED).to(np.float64), np.array([1, 2, 5, 7])\n"
        "clothes = fashion_mnist(SUBSET, 'test')\n"
    )
    names = {}
    exec(start + cell_of("08"), names)
    lines = capsys.readouterr().out.splitlines()[-3:]
    shown = [line.partition(":")[0] for line in lines]
    assert shown == (["chelsea", "coffee", "camera"] if cached else [f"test picture {i}" for i in (1, 2, 5)])
    assert all(line.count("%") == 3 for line in lines)
    assert np.isclose(names["probabilities"].sum(), 1)


def test_the_cell_of_chapter_11_runs_either_way(cached, capsys):
    start = (
        "import numpy as np, torch, swin_numpy, swin_torch\nfrom figures import photo_path\n"
        "from notebooks.lesson import agree, published\nfrom swin_numpy.pictures.images import load_image\n"
        "from swin_numpy.training.fashion_mnist import CLASSES, TRAINED\n"
        "few = np.random.default_rng(0).standard_normal((6, 1, 28, 28), dtype=np.float32)\n"
    )
    names = {}
    exec(start + cell_of("11"), names)
    assert "✓ logits of both twins" in capsys.readouterr().out
    assert names["answers"].shape == (1, 1000 if cached else 10)
