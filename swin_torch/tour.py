"""The tour: a photograph through Swin-T twice, every difference measured, and the first pictures. `make tour`.

In the two packages, only this file and compare.py run both twins.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import swin_numpy
from swin_numpy import shift_mask
from swin_numpy.__main__ import find_model, print_top, read_picture
from swin_numpy.pictures.images import denormalise
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.environment import environment
from swin_numpy.training.fashion_mnist import SUBSET, TRAINED, fashion_mnist, standardise

from .compare import compare, make_twins, print_table, verdict
from .model import SwinTransformer

MODEL = "swin_tiny_patch4_window7_224"
PHOTO = "chelsea"
FOLDER = Path("runs") / "tour"


def tour(folder=FOLDER, pretrained=None):
    """Print the table and the verdict, and draw the pictures. Returns True if the twins agree.

    pretrained: the name of published weights, see SwinTransformer.from_pretrained; None: Swin-T with random ones.
    Raises ValueError where the repository's photographs and drawings are missing, HubError where the weights are.
    """
    if find_spec("figures") is None:
        raise ValueError("the tour needs a clone of the repository, which has the photographs and the drawings")
    from figures import save

    numpy_model, images, photo, agree = compare_photograph(pretrained)
    same = _classify()
    for name, figure in _pictures(numpy_model, images, photo):
        save(figure, name, folder)
        print(f"  {folder / name}.png")
    print(
        "\nNext: `make lab` opens the first chapter.\n"
        "Your own picture: `.venv/bin/python -m swin_torch.compare PICTURE` (--help shows more)."
    )
    return agree and same


def compare_photograph(pretrained=None):
    """Print the table and the verdict for the photograph → (NumPy model, images, their pixels, whether twins agree)."""
    from figures import photo_path

    print(f"Swin Transformer, written twice. {environment('numpy', 'torch')}\n")
    found = find_model(MODEL if pretrained is None else None, pretrained=pretrained)
    images = read_picture(photo_path(PHOTO), found, full=False)
    numpy_model, torch_model = make_twins(found.config, state=found.state)
    random = " (random, seed 0)" if pretrained is None else ""
    print(f"{found.title}, {_count(numpy_model):,} parameters{random}, float32")
    print(f"figures/photos/{photo_path(PHOTO).name} as images of shape {images.shape}\n")

    rows = compare(numpy_model, torch_model, images)
    print_table(rows)
    agree, sentence = verdict(rows, "float32")
    print(f"\n{sentence}\n")
    if pretrained is not None and found.config.num_classes:
        print_top(numpy_model(images)[0], 5, found.classes)
        print()
    normal = () if found.preprocessing is None else (found.preprocessing.mean, found.preprocessing.std)
    return numpy_model, images, denormalise(images, *normal)[0], agree


def _count(model):
    return sum(value.size for value in model.state_dict().values())


def _classify():
    """Let both twins, trained, name the clothes on held-out images. Returns True if they name all of them alike."""
    numpy_model, torch_model = (
        swin_numpy.SwinTransformer.from_checkpoint(TRAINED),
        SwinTransformer.from_checkpoint(TRAINED),
    )
    test = fashion_mnist(SUBSET, "test")
    ours, theirs = [], []
    for start in tqdm(range(0, len(test.images), 250), desc="classifying", leave=False, disable=None):
        images = standardise(test.images[start : start + 250])
        ours.append(numpy_model(images).argmax(axis=1))
        with torch.inference_mode():
            theirs.append(torch_model(torch.from_numpy(images)).argmax(dim=1).numpy())
    ours, theirs = np.concatenate(ours), np.concatenate(theirs)
    same = int((ours == theirs).sum())
    print(f"A small Swin, trained on Fashion-MNIST, on {len(ours):,} images it has not seen ({test.source}):")
    print(f"NumPy {np.mean(ours == test.labels):.2%} right, PyTorch {np.mean(theirs == test.labels):.2%}; ", end="")
    print(f"the same answer for {same:,} of {len(ours):,}.\n")
    return same == len(ours)


def _pictures(model, images, photo):
    """Yield (file name, Figure): what the first steps look like on this photograph."""
    from figures.patches import patch_grid
    from figures.shifted import masks
    from figures.windows import attention_structure, windows_on_image

    config = model.config
    p, M, shift = config.patch_size, config.windows[0], config.windows[0] // 2
    H, W = config.grids[0]
    yield "1_patches", patch_grid(photo, p, zoom=(20, 20, 4))
    yield "2_windows", windows_on_image(photo, p, M, shift)
    yield "3_masks", masks(shift_mask(H, W, M, shift), _seam_labels(H, W, shift), M)
    yield "4_attention", attention_structure({"one head of the first W-MSA block": _first_attention(model, images)})


def _seam_labels(H, W, shift):
    """Which of the four regions the seam makes each token of the shifted map belongs to, (H, W)."""
    return 2 * (np.arange(H) >= H - shift)[:, None] + (np.arange(W) >= W - shift)[None, :]


def _first_attention(model, images):
    """The attention weights (m, m) of the first head in the first block's middle window."""
    seen = []
    hook = model.layers[0].blocks[0].attn.attn_drop.register_forward_hook(lambda module, inputs, out: seen.append(out))
    x, grid = model.embed(images)
    model.layers[0].blocks[0](x, grid)
    hook.remove()
    return seen[0][0, seen[0].shape[1] // 2, 0]


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m swin_torch.tour", description=__doc__)
    parser.add_argument(
        "--save", type=Path, default=FOLDER, metavar="DIR", help="for the pictures (default: %(default)s)"
    )
    published = "with published weights, downloaded once, instead of random ones (default: %(const)s's)"
    parser.add_argument("--pretrained", metavar="NAME", nargs="?", const=MODEL, help=published)
    args = parser.parse_args(arguments)
    return exit_status("python -m swin_torch.tour", lambda: 0 if tour(args.save, args.pretrained) else 1)


if __name__ == "__main__":
    sys.exit(main())
