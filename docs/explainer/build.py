"""Pack the explainer into one file: python docs/explainer/build.py [docs/build/explainer.html]

Style, scripts, texts, weights and pictures all go inside, so that the page needs no server and sends no request.
Whatever code can tell is taken from the code: weights and sizes from the trained model, colours from figures/style.py,
and the lines of swin_numpy from its source.
"""

import base64
import inspect
import io
import json
import re
import sys
from importlib import import_module
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

import swin_numpy
from figures import style
from figures.photographs import photo_path
from swin_numpy.training import fashion_mnist

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "explainer.html"
PAGE_SCRIPTS = ["state", "text", "draw", "shift", "picture", "walk", "lens", "breaks", "photograph", "main"]
PER_CLASS = 10  # test pictures inside the page; the first of each class is offered to choose
PHOTOGRAPH = "chelsea"
PHOTOGRAPH_SIDE = 224
PAGE = "api/swin_numpy/{module}.html#{module}.{name}"  # of the site, where the explainer lies beside index.html

# Each step of the walk: the chapter that explains it at length, the module and function of swin_numpy that do it, how
# the line starts, and the function of swin.js that does the same.
STEPS = {
    "picture": ("02_patch_embedding", "training.fashion_mnist standardise", "return ", "standardise"),
    "patches": ("02_patch_embedding", "layers Conv2d.forward", "patches = ", "Conv2d"),
    "tokens": ("02_patch_embedding", "layers Conv2d.forward", "y = linear(", "linear"),
    "windows": ("03_window_attention", "windows window_partition", "return rearrange(", "windowOrder"),
    "attention1": ("03_window_attention", "window_attention WindowAttention.scores", "scores = ", "WindowAttention"),
    "block1": ("06_swin_block", "block SwinTransformerBlock.forward", "x = x + ", "SwinTransformerBlock"),
    "shift": ("05_shifted_windows", "windows cyclic_shift", "return np.roll(", "cyclicShift"),
    "mask": ("05_shifted_windows", "windows shift_mask", "return np.where(", "shiftMask"),
    "attention2": ("05_shifted_windows", "window_attention WindowAttention.forward", "weights = ", "softmax"),
    "block2": ("05_shifted_windows", "block SwinTransformerBlock.in_windows", "x = cyclic_shift(x, (-rows",
               "windowReverse"),
    "merging": ("07_patch_merging", "patches PatchMerging.neighbours", "return rearrange(", "PatchMerging"),
    "stage2": ("08_whole_model", "block SwinTransformerBlock.__init__", "self.window_size, self.shift_size = min(",
               "SwinTransformerBlock"),
    "answer": ("08_whole_model", "model SwinTransformer.forward", "x = reduce(", "SwinTransformer"),
}  # fmt: skip


def page():
    """The whole page as a string."""
    parts = {
        "style.css": (HERE / "style.css").read_text(encoding="utf-8"),
        "data": json.dumps(payload(), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/"),
        "data.js": script("data"),
        "swin.js": script("swin"),
        "page.js": "\n".join(script(name) for name in PAGE_SCRIPTS),
    }
    frame = (HERE / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{([\w.]+)\}\}", lambda match: parts[match[1]], frame)


def script(name):
    """docs/explainer/NAME.js as a part of one script: in a page that is one file there is nothing to import."""
    source = (HERE / f"{name}.js").read_text(encoding="utf-8")
    source = re.sub(r"^import [^;]*;\n", "", source, flags=re.MULTILINE)
    return re.sub(r"^export ", "", source, flags=re.MULTILINE)


def payload():
    """Everything that the scripts need, as plain data."""
    model = swin_numpy.SwinTransformer.from_checkpoint(fashion_mnist.TRAINED)
    state, config = half(model.state_dict()), model.config
    model.load_state_dict(state)
    pictures, labels = chosen(PER_CLASS)
    logits = model(fashion_mnist.standardise(pictures))
    return {
        "config": {name: getattr(config, name) for name in CONFIG},
        "shapes": {name: value.shape for name, value in state.items()},
        "weights": base64_of(np.concatenate([value.ravel() for value in state.values()]).astype("<f2").tobytes()),
        "parameters": sum(value.size for value in state.values()),
        "statistics": {"mean": fashion_mnist.MEAN, "std": fashion_mnist.STD},
        "pictures": base64_of(pictures.tobytes()),
        "labels": labels.tolist(),
        "logits": logits.round(6).tolist(),  # what swin_numpy says, for the page's own check
        "photograph": base64_of(photograph()),
        "colors": colors(),
        "steps": {name: step(*parts) for name, parts in STEPS.items()},
        "texts": {"en": texts("texts.json"), "zh": texts("texts.zh.json")},
    }


CONFIG = ("img_size", "patch_size", "embed_dim", "depths", "num_heads", "window_size", "num_classes", "grids", "widths")


def texts(name):
    """{key: text} in one language; texts.zh.json is made of its catalogue by `python -m docs.chinese write`."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def half(state):
    """The weights rounded to 16 bits, as the page holds them."""
    return {name: value.astype(np.float16).astype(np.float32) for name, value in state.items()}


def chosen(count):
    """The first `count` test pictures of every class, (10 · count, 28, 28) uint8, and their labels: 0, 1, …, 9, 0, …"""
    data = fashion_mnist.fashion_mnist(fashion_mnist.SUBSET, "test")
    rows = [np.flatnonzero(data.labels == label)[:count] for label in range(len(fashion_mnist.CLASSES))]
    rows = np.stack(rows, axis=1).ravel()
    return data.images[rows], data.labels[rows]


def photograph():
    """The middle of a photograph, as bytes of a JPEG."""
    image = Image.open(photo_path(PHOTOGRAPH)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=82)
    return file.getvalue()


def colors():
    """The colours of the chapters, and their colour maps in 64 steps."""
    maps = {"weights": style.SEQUENTIAL, "heat": style.HEAT, "signed": style.DIVERGING}
    ramps = {
        name: [to_hex(matplotlib.colormaps[cmap](x)) for x in np.linspace(0, 1, 64)] for name, cmap in maps.items()
    }
    return ramps | {
        "Q": style.COLORS["Q"],
        "K": style.COLORS["K"],
        "V": style.COLORS["V"],
        "wmsa": style.COLORS["W-MSA"],
        "swmsa": style.COLORS["SW-MSA"],
        "numpy": style.COLORS["NumPy"],
        "query": style.COLORS["Q"],
        "seam": style.SEAM,
        "masked": style.MASKED,
        "windows": style.WINDOWS,
        "regions": style.REGIONS,
    }


def ramp(name):
    """A colour map of Matplotlib in 64 steps."""
    return [to_hex(matplotlib.colormaps[name](x)) for x in np.linspace(0, 1, 64)]


def step(chapter, place, start, js):
    """What the page says of the code of one step: the line, the function around it, and where both are to be found."""
    module, function = place.split()
    module = f"swin_numpy.{module}"
    target = import_module(module)
    for part in function.split("."):
        target = getattr(target, part)
    lines, first = inspect.getsourcelines(target)
    found = [i for i, line in enumerate(lines) if line.strip().startswith(start)]
    if not found:
        raise SystemExit(
            f"{module}: expected a line that starts with {start!r} in {function}; mend STEPS in {__file__}"
        )
    return {
        "file": f"{module.replace('.', '/')}.py",
        "number": first + found[0],
        "line": lines[found[0]].strip(),
        "function": inspect.cleandoc("\n" + "".join(lines)),
        "mark": found[0],
        "page": PAGE.format(module=module, name=function.removesuffix(".__init__")),
        "chapter": f"notebooks/{chapter}.html",
        "js": js_function(js),
    }


def js_function(name):
    """The source of a function or class of swin.js or data.js, the comment above it included."""
    for file in ("swin", "data"):
        lines = (HERE / f"{file}.js").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        starts = [i for i, line in enumerate(lines) if re.match(rf"(export )?(function|class|const) {name}\b", line)]
        if starts:
            first = last = starts[0]
            while lines[first - 1].startswith(("/**", "//")):
                first -= 1
            while (last + 1 < len(lines) and not lines[last].endswith((");", "}"))) or lines[last].startswith(" "):
                last += 1
            return "\n".join(lines[first : last + 1]).replace("export ", "")
    raise SystemExit(f"swin.js: expected a function {name}; mend STEPS in docs/explainer/build.py")


def base64_of(content):
    """Bytes as text, for a data: address."""
    return base64.b64encode(content).decode()


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(), encoding="utf-8")
    print(f"{out}: {out.stat().st_size:,} bytes")
