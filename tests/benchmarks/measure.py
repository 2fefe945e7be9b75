"""Timing that can be trusted a little: warm-up, contenders by turns, medians, and ratios within one run."""

import statistics
import subprocess
import sys
import time

from tqdm import tqdm

LEAST_ROUNDS = 3
SETTLE = 0.15  # seconds: OpenBLAS's threads wait busily for about 0.1 after their last product


def interleaved(contenders, repeats=15, seconds=float("inf"), settle=SETTLE):
    """{name: call} → {name: list of seconds}. One call of each in turn, so that a slow moment hits all alike.

    Calls that don't count go before each, for `settle` seconds, at least one: threads of the contender before may go on
    waiting for work, busily, on cores that this one wants, and its data has driven this one's out of the cache. A pause
    instead would be worse: cores that fell asleep wake up slowly.
    seconds: after so many, no further round begins, if there were LEAST_ROUNDS.
    """
    times, start_of_all = {name: [] for name in contenders}, time.perf_counter()
    for done in tqdm(range(repeats), desc=", ".join(contenders), leave=False, disable=None):
        if done >= LEAST_ROUNDS and time.perf_counter() - start_of_all > seconds:
            break
        for name, call in contenders.items():
            _settle(call, settle)
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def _settle(call, seconds):
    until = time.perf_counter() + seconds
    call()
    while time.perf_counter() < until:
        call()


def summary(times, reference):
    """{name: median and quartiles in seconds, and the median and quartiles of its ratio to `reference`}.

    The ratio is that of the two calls of one round: what slows the machine for a while stands above and below.
    """
    found = {}
    for name, seconds in times.items():
        ratios = [mine / theirs for mine, theirs in zip(seconds, times[reference], strict=True)]
        found[name] = {
            "seconds": statistics.quantiles(seconds, n=4, method="inclusive"),
            "ratio": statistics.quantiles(ratios, n=4, method="inclusive"),
        }
    return found


def table(title, times, reference):
    """Lines that give each contender's median, its spread (middle half) and its ratio to `reference`."""
    yield f"{title} ({len(times[reference])} rounds)"
    for name, numbers in summary(times, reference).items():
        low, middle, high = (1000 * value for value in numbers["seconds"])
        least, ratio, most = numbers["ratio"]
        yield (
            f"  {name:34} {middle:9.1f} ms   half of all in {low:.1f} to {high:.1f} ms   "
            f"{ratio:5.2f} x {reference} ({least:.2f} to {most:.2f})"
        )


PEAK = """
import pathlib, resource, sys
status = pathlib.Path("/proc/self/status")  # Linux: ru_maxrss would count the process that started this one
if status.exists():
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 2**10)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def peak_memory(code):
    """Run `code` in a Python of its own; return the most memory it ever held, in MB (Linux and macOS)."""
    result = subprocess.run([sys.executable, "-c", code + PEAK], capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])
