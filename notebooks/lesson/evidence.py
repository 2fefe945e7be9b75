"""Tools with which a cell shows what the sentence beside it says: runs with seeds, times with spread, a fair start."""

import json
from dataclasses import replace
from itertools import combinations
from statistics import mean, median, stdev
from time import perf_counter

import numpy as np
from safetensors import safe_open

import swin_numpy
from swin_numpy.training.fashion_mnist import TRAINED
from swin_numpy.training.recipe import Recipe, first_weights

# Student's t: 95 % of a normal sample's means lie within t · deviation / √n of the true one, by n - 1 (two-sided).
STUDENT = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10]
FLOOR = 0.05  # times closer than this part of the longer one are called equal: the machine has noise of its own


def compare_runs(runs, seeds, unit="", base=None):
    """Run every function of {name: function(seed) → number} once with each seed; print each pair's difference.

    The same seed gives all the same start, so differences are taken seed by seed. Printed are their mean with its
    95 % interval, and "can't be told apart" where 0 lies inside. Returns {(a, b): (mean of b - a, half the interval)}.
    With `base`, a name, only the pairs that it belongs to are compared, the others with it.
    Raises ValueError for fewer than two seeds, which have no spread, and for a base that isn't there.
    """
    seeds = list(seeds)
    if len(set(seeds)) < max(2, len(seeds)):
        raise ValueError(f"seeds: expected two different ones or more, got {seeds}")
    results = {name: [float(run(seed)) for seed in seeds] for name, run in runs.items()}
    for name, values in results.items():
        print(f"{name}: {mean(values):.4g}{unit}, from {min(values):.4g} to {max(values):.4g} with {len(seeds)} seeds")
    if base is not None and base not in results:
        raise ValueError(f"base: expected one of {', '.join(results)}, got {base!r}")
    found = {}
    for a, b in combinations(results, 2) if base is None else [(base, name) for name in results if name != base]:
        gaps = [after - before for before, after in zip(results[a], results[b], strict=True)]
        found[a, b] = difference, half = mean(gaps), half_interval(gaps)
        verdict = "" if abs(difference) > half else ": can't be told apart"
        print(f"{b} - {a}: {difference:+.3g} ± {half:.2g}{unit} (95 %, {len(seeds)} seeds){verdict}")
    return found


def half_interval(values):
    """Half the width of the 95 % interval of the mean of `values`."""
    degrees = len(values) - 1
    student = STUDENT[degrees - 1] if degrees <= len(STUDENT) else STUDENT[-1]
    return student * stdev(values) / len(values) ** 0.5


def compare_times(runs, rounds=9):
    """Time the functions of {name: function} in turns; print each one's median with spread, and how they compare.

    Each is called once unmeasured, then once a round, so that whatever else the machine does meets all alike. Ratios to
    the first are taken round by round; where they lie within 5 % of 1, or on both sides of it in more than a quarter of
    the rounds, it says "no difference". Returns {name: median ratio to the first}, 1.0 for no difference.
    """
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return compare_seconds(seconds)


def compare_seconds(seconds):
    """Print and return what `compare_times` does, of measured {name: [seconds of each round]}."""
    first, ratios = next(iter(seconds)), {}
    for name, values in seconds.items():
        each = sorted(value / base for value, base in zip(values, seconds[first], strict=True))
        quarter = len(each) // 4
        low, high = each[quarter], each[-1 - quarter]
        told_apart = not low <= 1 <= high and abs(median(each) - 1) > FLOOR
        ratios[name] = median(each) if told_apart else 1.0
        spread = f"{1000 * min(values):.3g} to {1000 * max(values):.3g} ms"
        text = f"{median(each):.2f} times {first} ({low:.2f} to {high:.2f})" if told_apart else "no difference"
        compared = "" if name == first else f": {text}"
        print(f"{name}: {1000 * median(values):.3g} ms, {len(values)} rounds from {spread}{compared}")
    return ratios


def fresh_and_trained(path=TRAINED, dtype=np.float64):
    """(fresh, trained): two NumPy models in evaluation mode, before and after the training that the file describes.

    The fresh one has the very weights from which that training started (its recipe's seed and initialisation), so that
    whatever differs was learned. Raises KeyError for a file that says nothing about its training.
    """
    trained = swin_numpy.SwinTransformer.from_checkpoint(path).to(dtype).eval()
    with safe_open(path, "np") as file:
        recipe = replace(Recipe(**json.loads(file.metadata()["recipe"])), start="")
    fresh = swin_numpy.SwinTransformer(trained.config, dtype=dtype).eval()
    fresh.load_state_dict(first_weights({name: value.shape for name, value in trained.state_dict().items()}, recipe))
    return fresh, trained


def moved(*models, scale=0.3, seed=0):
    """Add the same random numbers to the parameters of all models, so that none is at 0 or 1 any more. In place.

    Models may be of both packages, with parameters of the same names. Returns them (one, or a tuple).
    """
    rng = np.random.default_rng(seed)
    states = [model.state_dict() for model in models]
    for name, parameter in models[0].named_parameters():
        step = scale * rng.standard_normal(tuple(parameter.shape))
        for state in states:
            value = state[name]
            state[name] = value + (value.new_tensor(step) if hasattr(value, "new_tensor") else step.astype(value.dtype))
    for model, state in zip(models, states, strict=True):
        model.load_state_dict(state)
    return models[0] if len(models) == 1 else models


def unmoved(model):
    """Names of the parameters that still hold nothing but zeros, or nothing but ones, as fresh biases and norms do."""
    state = model.state_dict()
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if bool((state[name] == 0).all()) or bool((state[name] == 1).all())]
