"""What is timed on a processor and on a GPU, most important first: when the time is up, the rest is left out."""

from dataclasses import dataclass

TINY, BASE = "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224"
TINY2, BASE2 = "swinv2_tiny_patch4_window8_256", "swinv2_base_patch4_window8_256"
DTYPES = ("float32", "tf32", "float16", "bfloat16")


@dataclass(frozen=True)
class Run:
    """One comparison. what: "forward" or "training step"; dtype: of DTYPES; compiled: also through torch.compile."""

    what: str
    model: str
    batch: int
    dtype: str = "float32"
    compiled: bool = False


def cpu(models, batches, dtypes, compiled):
    """The forward at each batch, then training at batch 4."""
    runs = [Run("forward", model, batch, dtype, compiled) for model in models for dtype in dtypes for batch in batches]
    training = [dtype for dtype in dtypes if dtype in ("float32", "bfloat16")]
    return runs + [Run("training step", model, 4, dtype, compiled) for model in models for dtype in training]


def gpu(models, batches, dtypes, compiled):
    """Model after model, forward and training; last what is compiled, in bfloat16: compiling takes longest."""
    large = [batch for batch in batches if batch > 1] or batches
    runs = []
    for model in models:
        runs += [Run("forward", model, batch, dtype) for dtype in dtypes for batch in batches]
        runs += [Run("training step", model, batch, dtype) for dtype in dtypes for batch in large]
    if compiled:
        runs += [Run("forward", models[0], batch, "bfloat16", True) for batch in batches[:2]]
        runs.append(Run("training step", models[0], large[0], "bfloat16", True))
    return runs
