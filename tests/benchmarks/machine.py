"""What a benchmark ran on: which libraries, which of their kernels, which caches, and whether others used the cores."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

FORCING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # make OpenBLAS use a kernel other than the processor's own
ONEDNN = """
import torch
with torch.no_grad():
    torch.ops.mkldnn._linear_pointwise(torch.ones(8, 8), torch.ones(8, 8), None, "none", [], "")
"""
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def start_again_unforced(arguments):
    """Run this command again without the variables of FORCING, if one is set, and say so. Then this doesn't return."""
    forced = {name: os.environ.pop(name) for name in FORCING if name in os.environ}
    if not forced:
        return
    listed = ", ".join(f"{name}={value}" for name, value in forced.items())
    print(f"{listed} would force a kernel upon NumPy's BLAS: measuring without it (--keep-environment: with it)")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tests.benchmarks", *arguments])


def details():
    """{what: value} of everything that decides about the speed of a product on this machine."""
    found = {"forced": {name: os.environ[name] for name in FORCING if name in os.environ}}
    found["blas"] = [
        {key: library.get(key) for key in ("internal_api", "version", "architecture", "num_threads", "threading_layer")}
        for library in threadpool_info()
    ]
    found["onednn"] = _onednn()
    found["torch_kernels"] = torch.backends.cpu.get_cpu_capability()
    found["caches"] = _caches()
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found["gpu"] = {
            "name": card.name, "multiprocessors": card.multi_processor_count, "memory_mb": card.total_memory / 2**20,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        }  # fmt: skip
    return found


def lines(found):
    """The same in a few lines to print."""
    for library in found["blas"]:
        kernel = library["architecture"] or "kernel unknown"
        yield f"{library['internal_api']} {library['version']}, {kernel}, {library['num_threads']} threads"
    yield f"oneDNN: {found['onednn']}; PyTorch's own kernels: {found['torch_kernels']}"
    yield "caches: " + (", ".join(f"{name} {size}" for name, size in found["caches"].items()) or "unknown")
    for name, value in found["forced"].items():
        yield f"WARNING: {name}={value} forces a kernel: NumPy's times aren't what this machine can do"


def _onednn():
    """The instruction set that oneDNN takes, as it says itself when asked to be verbose."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
    said = subprocess.run([sys.executable, "-c", ONEDNN], capture_output=True, text=True, env=environment).stdout
    version, isa = re.search(r"(?:oneDNN|DNNL) v([\d.]+)", said), re.search(r"isa:([^\n]+)", said)
    return f"{version[1] if version else 'version unknown'}, {isa[1] if isa else 'instruction set unknown'}"


def _caches():
    """{"L1d": "48K", "L2": "2048K", …} of the first core, where Linux tells."""
    found = {}
    for folder in sorted(CACHES.glob("index*")):
        level, kind, size = (folder.joinpath(name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = size
    return found


class Others:
    """How much of the cores' time other programs took, between making this and `share`. Linux only."""

    def __init__(self):
        self.start = self._read()

    def share(self):
        """From 0 (none) to 1 (all of it); None where the system doesn't tell."""
        if self.start is None:
            return None
        whole, busy, own = (after - before for after, before in zip(self._read(), self.start, strict=True))
        return max(0.0, busy - own) / whole if whole else 0.0

    def _read(self):
        """(seconds of all cores, those in which they worked, those that were ours)."""
        try:
            first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return None
        ticks = [int(value) / os.sysconf("SC_CLK_TCK") for value in first]
        idle = ticks[3] + ticks[4]
        return sum(ticks), sum(ticks) - idle, sum(os.times()[:4])
