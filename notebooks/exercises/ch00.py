"""Exercises of chapter 00: one to get to know the checker."""


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


def right_1_other_style(height, width, patch):
    return height * width // patch**2
