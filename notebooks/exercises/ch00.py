"""Exercises of chapter 00: two to get to know the checker."""


def check_1(answer):
    """answer(H, W, p): number of p × p patches in an image of H × W pixels, both divisible by p."""
    for H, W, p in ((8, 8, 4), (224, 224, 4), (64, 96, 16)):
        count, expected = answer(H, W, p), (H // p) * (W // p)
        if count != expected:
            return f"{H} × {W} pixels hold {H // p} × {W // p} = {expected} patches of {p} × {p}, got {count}"


def solution_1(H, W, p):
    return (H // p) * (W // p)


def wrong_1_one_side(H, W, p):
    return H // p


def wrong_1_square(H, W, p):
    return (H // p) ** 2


def check_2(answer):
    """answer(side, C, stages): list of (side, channels) of each stage; the first is (side, C)."""
    for side, C, stages in ((56, 96, 4), (32, 24, 3)):
        expected = [(side // 2**s, C * 2**s) for s in range(stages)]
        shapes = [tuple(shape) for shape in answer(side, C, stages)]
        if len(shapes) != stages:
            return f"{stages} stages should give {stages} pairs, got {len(shapes)}"
        for stage, (shape, right) in enumerate(zip(shapes, expected, strict=True), 1):
            if shape != right:
                return f"starting from side {side} and C = {C}, stage {stage} should be {right}, got {shape}"


def solution_2(side, C, stages):
    return [(side // 2**s, C * 2**s) for s in range(stages)]


def wrong_2_four_times(side, C, stages):
    return [(side // 2**s, C * 4**s) for s in range(stages)]


def wrong_2_one_short(side, C, stages):
    return [(side // 2**s, C * 2**s) for s in range(stages - 1)]
