"""Write docs/cheat_sheet.md and its poster: every number in them is computed here. `python docs/cheat_sheet.py`."""

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from figures import GALLERY, save  # noqa: E402
from figures.poster import poster  # noqa: E402
from swin_numpy import CONFIGS, relative_position_index, shift_mask  # noqa: E402

PAGE = ROOT / "docs" / "cheat_sheet.md"
MODELS = {
    "T": "swin_tiny_patch4_window7_224",
    "S": "swin_small_patch4_window7_224",
    "B": "swin_base_patch4_window7_224",
    "L": "swin_large_patch4_window7_224",
    "V2-T": "swinv2_tiny_patch4_window8_256",
    "V2-S": "swinv2_small_patch4_window8_256",
    "V2-B": "swinv2_base_patch4_window8_256",
    "V2-L": "swinv2_large_patch4_window12_192",
}


def block_parameters(config, stage):
    """Numbers that one block of a stage learns."""
    C, a, M, r = config.widths[stage], config.num_heads[stage], config.windows[stage], config.mlp_ratio
    hidden = int(C * r)
    mlp, norms, proj = 2 * C * hidden + hidden + C, 4 * C, C * C + C
    if config.version == 1:
        return norms + proj + mlp + 3 * C * C + 3 * C * config.qkv_bias + (2 * M - 1) ** 2 * a
    bias_network = 2 * 512 + 512 + 512 * a
    return norms + proj + mlp + 3 * C * C + 2 * C * config.qkv_bias + a + bias_network


def parameters(config):
    """Numbers that the whole model learns."""
    C, last = config.embed_dim, config.widths[-1]
    total = config.patch_size**2 * config.in_chans * C + C + 2 * C * config.patch_norm
    for stage, depth in enumerate(config.depths):
        total += depth * block_parameters(config, stage)
    for width in config.widths[:-1]:  # patch merging: 4C → 2C, and its norm (V1: of 4C, V2: of 2C)
        total += 8 * width * width + (8 if config.version == 1 else 4) * width
    return total + 2 * last + (last * config.num_classes + config.num_classes if config.num_classes else 0)


def multiply_adds(config):
    """Multiply-adds of all matrix products except V2's bias networks, for one image of the built size."""
    h, w = config.grids[0]
    total = h * w * config.patch_size**2 * config.in_chans * config.embed_dim
    for stage, (C, M, (h, w)) in enumerate(zip(config.widths, config.windows, config.grids, strict=True)):
        padded = -(-h // M) * M * -(-w // M) * M
        one = 4 * padded * C * C + 2 * M * M * padded * C + 2 * h * w * C * int(C * config.mlp_ratio)
        total += config.depths[stage] * one
        if stage < len(config.depths) - 1:
            total += -(-h // 2) * -(-w // 2) * 8 * C * C
    return total + config.widths[-1] * config.num_classes


def stage_rows(config):
    """Table rows: the shapes of each stage."""
    for stage, (h, w) in enumerate(config.grids):
        C, a, M, depth = config.widths[stage], config.num_heads[stage], config.windows[stage], config.depths[stage]
        shift = M // 2 if min(h, w) > M else 0
        kinds = "W-MSA, SW-MSA" if shift else "W-MSA (one window: nothing to shift)"
        yield (
            f"| {stage + 1} | (N, {h * w}, {C}) | {h} × {w} | {depth} | {kinds} | {a} × {C // a} | "
            f"{(h // M) * (w // M)} of {M} × {M} | {shift} |"
        )


def model_rows():
    """Yields a line of the table of models for each."""
    for name, key in MODELS.items():
        c = CONFIGS[key]
        yield (
            f"| {name} | {', '.join(map(str, c.widths))} | {', '.join(map(str, c.depths))} | "
            f"{', '.join(map(str, c.num_heads))} | {c.window_size} | {c.img_size} | {c.num_classes:,} | "
            f"{parameters(c) / 1e6:.1f} M | {multiply_adds(c) / 1e9:.1f} G |"
        )


def matrix(values):
    """An array as lines of whole numbers."""
    return "\n".join(" ".join(f"{value:>4}" for value in row) for row in values.astype(int).tolist())


def page():
    """The text of docs/cheat_sheet.md."""
    tiny = CONFIGS[MODELS["T"]]
    mask = shift_mask(4, 4, 2, 1)
    return f"""# Swin on one page

![The sheet as a poster: shapes, formulas, index and mask rules, models, traps](../figures/gallery/cheat_sheet.png)

To print: [PDF](../figures/gallery/cheat_sheet.pdf) · [SVG](../figures/gallery/cheat_sheet.svg).
Made by `python docs/cheat_sheet.py`; words are explained in the [glossary](glossary.md).

## Shapes: Swin-T at 224 × 224

images (N, 3, 224, 224) → patch embedding, 4 × 4 → tokens (N, 3136, 96) → four stages → norm → mean over tokens (N, 768)
→ linear → logits (N, 1000)

| stage | tokens | grid | blocks | kinds in turn | heads × width | windows | shift |
|---|---|---|---|---|---|---|---|
{chr(10).join(stage_rows(tiny))}

A block never changes the shape (N, h·w, C). Patch merging, at the end of stages 1 to 3, does:
(N, h·w, C) → (N, h·w/4, 2C).

## Formulas

- **Attention in a window**: softmax(Q Kᵀ / √d + B + mask) V, d = C / heads.
- **Block** (V1): x + attention(norm(x)), then x + MLP(norm(x)). (V2): x + norm(attention(x)), then x + norm(MLP(x)).
- **Cost** of attention, in multiply-adds on h·w tokens (paper, eq. 1 and 2): everywhere 4hwC² + 2(hw)²C; in windows
  4hwC² + 2M²hwC. The MLP adds 8hwC².
- **Parameters** of a V1 block: 12C² + 13C + (2M − 1)²·heads. Patch merging: 8C² + 8C (V2: 8C² + 4C).

## Relative position index

Token i at (row, column) asks, token j is looked at. With M = window size:
`index = (row_i − row_j + M − 1) · (2M − 1) + (column_i − column_j + M − 1)`. The table has (2M − 1)² rows, and a column
for each head. For M = 2:

```
{matrix(relative_position_index(2))}
```

## Cyclic shift and mask

1. Roll the map up and left by s = M // 2: `roll(x, (−s, −s))`. Afterwards roll back by (s, s).
2. Label each token of the rolled map: `2 · (row >= H − s) + (column >= W − s)`.
3. In a window, add −100 to the score of two tokens with different labels, **before** the softmax.

Map of 4 × 4, M = 2, s = 1, the last window, whose four tokens have four labels:

```
{matrix(mask[3])}
```

## Models

| | channels of the stages | blocks | heads | M | image | classes | parameters | multiply-adds |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(model_rows())}

Multiply-adds are those of all matrix products except V2's bias networks.

## V2 against V1

| | V1 | V2 |
|---|---|---|
| norm | before attention and MLP | after them, on what is added |
| score | q·k / √d | cosine(q, k) · exp(min(scale, log 100)), learned for each head |
| bias | a table, (2M − 1)² × heads | 16 · sigmoid of a small network on log-spaced offsets |
| bias vectors | q, k, v | q, v; k has none |
| patch merging | norm(4C), then linear | linear, then norm(2C) |
| another window | resize the tables | ask the network at other offsets |

## Traps, one line each

- The map is rolled, not each window. Roll back afterwards.
- The mask is added before the softmax, not multiplied after it.
- Padding comes before the roll (in V1, after the norm).
- One window covers the map: no shift, no mask, but in detectors. So a classifier's stage 4 at 224 has W-MSA only.
- Patch merging joins (0,0), (1,0), (0,1), (1,1) (row, column): first down, then right.
- The bias index has factor 2M − 1, not M.
- Q, K and V lie in one matrix `qkv`, in this order, each split into heads after that.
- `downsample` belongs to the end of its stage (Microsoft, here); timm ≥ 0.9 counts it to the next.
- (N, h·w, C) carries no grid: pass (h, w) along, and h ≠ w must work.
- Normalise with the mean and deviation that the weights were trained with.
"""


FORMULAS = (
    "attention  softmax(Q Kᵀ / √d + B + mask) V, d = C / heads",
    "block V1  x + attention(norm(x)), then x + MLP(norm(x))",
    "block V2  x + norm(attention(x)), then x + norm(MLP(x))",
    "merging  (N, h·w, C) → (N, h·w/4, 4C) → norm, linear → 2C",
    "cost everywhere  4hwC² + 2(hw)²C multiply-adds",
    "cost in windows  4hwC² + 2M²hwC",
    "cost of the MLP  8hwC²",
    "parameters of a V1 block  12C² + 13C + (2M − 1)²·heads",
    "parameters of merging  8C² + 8C (V2: + 4C)",
)
DIFFERENCES = (
    "norm: before → after attention and MLP",
    "score: q·k / √d → cosine · learned scale, at most 100",
    "bias: a table → 16·sigmoid of a network on log offsets",
    "bias vectors: q, k, v → q, v",
    "merging: norm, linear → linear, norm",
    "other window: resize the table → ask the network",
)
TRAPS = (
    "roll the map, not each window; roll back",
    "the mask is added before the softmax",
    "pad before the roll (V1: after the norm)",
    "one window covers the map: no shift, no mask (not in detectors)",
    "merging order (row, column): 00, 10, 01, 11",
    "factor 2M − 1 in the index, not M",
    "qkv: first all Q, then all K, then all V",
    "downsample ends its stage (timm ≥ 0.9: opens the next)",
    "(N, h·w, C) carries no grid: pass (h, w) along",
    "use the mean and deviation of the weights",
)


def draw():
    """The poster as a Figure."""
    tiny = CONFIGS[MODELS["T"]]
    stages = []
    for C, a, M, depth, (h, w) in zip(tiny.widths, tiny.num_heads, tiny.windows, tiny.depths, tiny.grids, strict=True):
        kinds = ("W-MSA", "SW-MSA") if min(h, w) > M else ("W-MSA", "W-MSA")
        times = "" if depth == 2 else f" ({depth // 2} such pairs)"
        windows = f"{(h // M) * (w // M)} windows of {M} × {M}{times}"
        stages.append((f"grid {h} × {w}", f"tokens (N, {h * w}, {C})", f"{a} heads of {C // a}", windows, kinds))
    models = [("", "M", "image", "C", "blocks", "heads", "params (1k)")]
    for name, key in MODELS.items():
        c = CONFIGS[key]
        blocks, heads = ("-".join(map(str, values)) for values in (c.depths, c.num_heads))
        size = f"{parameters(replace(c, num_classes=1000)) / 1e6:.0f} M"  # all with a head of 1,000 classes
        models.append((name, f"{c.window_size}", f"{c.img_size}", f"{c.embed_dim}", blocks, heads, size))
    index, mask = relative_position_index(2), shift_mask(4, 4, 2, 1)[3]
    return poster(stages, models, index, mask, FORMULAS, DIFFERENCES, TRAPS)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sheet = draw()
    save(sheet, "cheat_sheet")
    sheet.savefig(GALLERY / "cheat_sheet.pdf", metadata={"CreationDate": None})
    print(PAGE.relative_to(ROOT), "and figures/gallery/cheat_sheet.png, .svg, .pdf")
