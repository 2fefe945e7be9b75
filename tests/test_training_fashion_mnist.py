"""Fashion-MNIST: the files that ship and are read, augmentation against a loop, batches and resuming."""

import gzip
import struct

import numpy as np
import pytest

from notebooks.data.make_subset import PER_CLASS, choose, subset
from swin_numpy.training import fashion_mnist as data
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    DataError,
    FashionMNIST,
    augment,
    batches,
    fashion_mnist,
    hold_out,
    read_idx,
    shift_and_flip,
    standardise,
)

SPLITS = ("train", "test")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def full():
    """Both splits of the full data set, or a skip that says what is missing."""
    sets = {split: fashion_mnist(split=split) for split in SPLITS}
    if not all(found.source.startswith("full") for found in sets.values()):
        pytest.skip("full Fashion-MNIST not found (Debian: apt-get install dataset-fashion-mnist)")
    return sets


def idx(array):
    """An IDX file's bytes, written here from the format's description."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_split(folder, images, labels, prefix="train"):
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


def some_images(rng, n=50):
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)


# What ships


@pytest.mark.parametrize("split", SPLITS)
def test_subset_is_balanced_and_typed(split):
    images, labels, source = fashion_mnist(SUBSET, split)
    n = 10 * PER_CLASS[split]
    assert images.shape == (n, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (n,) and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [PER_CLASS[split]] * 10
    assert source.startswith(f"bundled subset, {n:,} of ")


def test_subset_is_found_by_a_relative_path(monkeypatch):
    monkeypatch.chdir(SUBSET.parent)
    assert fashion_mnist(SUBSET.name).source.startswith("bundled subset")


def test_subset_has_no_image_twice_nor_in_both_splits():
    images = [image.tobytes() for split in SPLITS for image in fashion_mnist(SUBSET, split).images]
    assert len(set(images)) == len(images)


def test_subset_is_small_with_its_licence_beside_it():
    assert SUBSET.stat().st_size < 6e6
    assert "Zalando" in (SUBSET.parent / "LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")


def test_subset_is_these_rows_of_the_full_set(full):
    with np.load(SUBSET, allow_pickle=False) as shipped:
        for split in SPLITS:
            rows = shipped[f"{split}_rows"]
            assert np.all(np.diff(rows) > 0)
            np.testing.assert_array_equal(shipped[f"{split}_images"], full[split].images[rows])
            np.testing.assert_array_equal(shipped[f"{split}_labels"], full[split].labels[rows])


def test_subset_is_made_again_by_its_script(full):
    made = subset()
    with np.load(SUBSET, allow_pickle=False) as shipped:
        assert set(made) == set(shipped.files)
        for name in made:
            assert made[name].dtype == shipped[name].dtype
            np.testing.assert_array_equal(made[name], shipped[name])


def test_subset_is_not_made_from_a_subset():
    with pytest.raises(DataError, match="expected the full data set"):
        subset(SUBSET)


def test_choose_draws_each_class_without_replacement(rng):
    labels = rng.permutation(np.repeat(np.arange(10), 30))
    rows = choose(labels, 12, rng)
    assert len(set(rows)) == 120 and np.bincount(labels[rows]).tolist() == [12] * 10


def test_mean_and_std_are_those_of_the_full_training_set(full):
    mean, std = data.pixel_statistics(full["train"].images)
    assert (data.MEAN, data.STD) == pytest.approx((mean, std), abs=1e-15)


def test_mean_and_std_are_near_those_of_the_subset():
    mean, std = data.pixel_statistics(fashion_mnist(SUBSET).images)
    assert (data.MEAN, data.STD) == pytest.approx((mean, std), abs=2e-3)


# Reading


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(5,), (4, 3, 2), (0, 28, 28)])
def test_read_idx(tmp_path, rng, pack, shape):
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "file").write_bytes(pack(idx(array)))
    read = read_idx(tmp_path / "file", ndim=len(shape))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.uint8 and read.shape == shape and read.flags.writeable


GOOD = idx(np.arange(24).reshape(2, 3, 4))
ZIPPED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    "content, message",
    [
        (GOOD[:-1], "expected 40 bytes for shape .2, 3, 4., got 39"),
        (GOOD + b"\0", "got 41"),
        (GOOD[:10], "got 10"),
        (b"", "magic 00000803, got"),
        (b"\0\0\x0d\x03" + GOOD[4:], "magic 00000803, got 00000d03"),  # float32
        (idx(np.arange(24)), "magic 00000803, got 00000801"),  # labels in place of images
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected at most 1,073,741,824 bytes"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12 + bytes(99)), "expected at most 1,073,741,824 bytes"),
        (gzip.compress(GOOD + bytes(10**6)), "got 41 or more"),
        (ZIPPED[:-9], "can't be read"),
        (ZIPPED[:12] + b"\xff\xff\xff" + ZIPPED[15:], "can't be read"),
        (gzip.compress(GOOD[:-1]), "got 39"),
    ],
    ids="short long header empty float32 labels huge huge-gzip long-gzip short-gzip broken-gzip short-in-gzip".split(),
)
def test_read_idx_refuses_damaged_files(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(tmp_path / "file", ndim=3)
    assert "file" in str(error.value) and "\n" not in str(error.value)


def test_read_idx_takes_as_many_bytes_as_it_says(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(GOOD)
    monkeypatch.setattr(data, "MAX_BYTES", 24)
    assert read_idx(tmp_path / "file", ndim=3).size == 24
    monkeypatch.setattr(data, "MAX_BYTES", 23)
    with pytest.raises(DataError, match="expected at most 23 bytes, got 24"):
        read_idx(tmp_path / "file", ndim=3)


def test_folder_of_idx_files(tmp_path, rng):
    images, labels = some_images(rng)
    write_split(tmp_path, images, labels, prefix="t10k")
    read = fashion_mnist(tmp_path, "test")
    np.testing.assert_array_equal(read.images, images)
    np.testing.assert_array_equal(read.labels, labels)
    assert read.labels.dtype == np.int64
    assert read.source == f"50 test images from {tmp_path.resolve()}"


def test_usual_places_come_first_then_the_subset(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(data, "_usual_places", lambda: (tmp_path / "none", tmp_path))
    assert fashion_mnist().source.startswith("bundled subset")
    images, labels = some_images(rng)
    write_split(tmp_path, images, labels)
    np.testing.assert_array_equal(fashion_mnist().images, images)
    assert fashion_mnist(split="test").source.startswith("bundled subset")  # only train files are there


def test_a_damaged_file_in_a_usual_place_is_not_passed_over(tmp_path, rng, monkeypatch):
    write_split(tmp_path, *some_images(rng))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(GOOD[:-1])
    monkeypatch.setattr(data, "_usual_places", lambda: (tmp_path,))
    with pytest.raises(DataError, match="get the file again"):
        fashion_mnist()


@pytest.mark.parametrize("there", ["nothing", "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"])
def test_folder_without_both_files(tmp_path, there):
    (tmp_path / there).write_bytes(GOOD)
    with pytest.raises(DataError, match="expected the files train-images-idx3-ubyte"):
        fashion_mnist(tmp_path)


def test_unknown_split():
    with pytest.raises(DataError, match="'train' or 'test', got 'valid'"):
        fashion_mnist(split="valid")


def test_arrays_that_are_not_fashion_mnist(tmp_path, rng):
    images, labels = some_images(rng)
    for wrong, message in (
        ((images[:, 1:], labels), "expected images of shape"),
        ((images[1:], labels), "expected images of shape"),
        ((images, np.maximum(labels, 10)), "expected labels 0 to 9, got 10"),
    ):
        write_split(tmp_path, *wrong)
        with pytest.raises(DataError, match=message):
            fashion_mnist(tmp_path)


def test_digits_of_mnist_are_told_apart(tmp_path):
    labels = np.repeat(np.arange(10), 1000)
    write_split(tmp_path, np.zeros((10_000, 28, 28)), labels, prefix="t10k")
    assert fashion_mnist(tmp_path, "test").source.startswith("full 10,000 test images")
    labels[0] = 1
    write_split(tmp_path, np.zeros((10_000, 28, 28)), labels, prefix="t10k")
    with pytest.raises(DataError, match="MNIST's digits"):
        fashion_mnist(tmp_path, "test")


def test_subset_missing_or_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SUBSET", tmp_path / "subset.npz")
    with pytest.raises(DataError, match="comes with a clone"):
        fashion_mnist(data.SUBSET)
    whole = SUBSET.read_bytes()
    name, extra = struct.unpack("<HH", whole[26:30])  # lengths in the header of a zip's first file
    start = 30 + name + extra
    no_block = whole[:start] + b"\xff" + whole[start + 1 :]  # zlib itself objects, before any checksum
    for content in (b"", b"nonsense", whole[:5000], no_block):
        data.SUBSET.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            fashion_mnist(data.SUBSET)
    np.savez(data.SUBSET, other=np.zeros(3))
    with pytest.raises(DataError, match="damaged"):
        fashion_mnist(data.SUBSET)


# Normalising and augmenting


def test_normalise(rng):
    images, _ = some_images(rng)
    x = data.standardise(images)
    assert x.shape == (50, 1, 28, 28) and x.dtype == np.float32
    expected = (images.astype(np.float64) / 255 - data.MEAN) / data.STD
    np.testing.assert_allclose(x[:, 0], expected, rtol=0, atol=1e-6)


def test_zero_shift_and_no_flip_is_the_identity(rng):
    images, _ = some_images(rng)
    zero = np.zeros(50, int)
    np.testing.assert_array_equal(shift_and_flip(images, zero, zero, zero > 0), images)


def shift_and_flip_loop(images, down, right, mirrored):
    """Pixel by pixel: push each one to where it goes, or over the edge."""
    n, height, width = images.shape
    out = np.zeros_like(images)
    for i, row, column in np.ndindex(n, height, width):
        to_row = row + down[i]
        to_column = (width - 1 - column if mirrored[i] else column) + right[i]
        if 0 <= to_row < height and 0 <= to_column < width:
            out[i, to_row, to_column] = images[i, row, column]
    return out


@pytest.mark.parametrize("furthest", [1, 2, 9])  # 9: further than the image is wide
def test_shift_and_flip_against_a_loop(rng, furthest):
    images = rng.integers(1, 256, (40, 6, 8), dtype=np.uint8)
    down, right = rng.integers(-furthest, furthest + 1, (2, 40))
    mirrored = rng.random(40) < 0.5
    out = shift_and_flip(images, down, right, mirrored)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, shift_and_flip_loop(images, down, right, mirrored))


@pytest.mark.parametrize("reach", [(0, 3), (3, 0), (1, 20), (20, 1), (2, 10**9)])
def test_shift_and_flip_with_another_reach_along_each_axis(rng, reach):
    images = rng.integers(1, 256, (40, 6, 8), dtype=np.uint8)
    down, right = (rng.integers(-far, far + 1, 40) for far in reach)
    mirrored = rng.random(40) < 0.5
    out = shift_and_flip(images, down, right, mirrored)
    np.testing.assert_array_equal(out, shift_and_flip_loop(images, down, right, mirrored))


def test_shift_and_flip_of_no_image():
    nothing = np.zeros(0, int)
    assert shift_and_flip(np.zeros((0, 6, 8), np.uint8), nothing, nothing, nothing > 0).shape == (0, 6, 8)


def test_augment_moves_by_one_pixel_where_nothing_else_is_said(rng):
    """augment and batches agree, and both directions are drawn."""
    images, labels = some_images(rng)
    assert np.array_equal(augment(images, np.random.default_rng(1)), augment(images, np.random.default_rng(1), 1))
    assert not np.array_equal(augment(images, np.random.default_rng(1)), augment(images, np.random.default_rng(1), 2))
    both = [next(batches(images, labels, 50, 3, 5, augmented=True, **shift))[0] for shift in ({}, {"max_shift": 1})]
    np.testing.assert_array_equal(*both)
    plain, asked = (next(batches(images, labels, 50, 3, 5, **how))[0] for how in ({}, {"augmented": False}))
    np.testing.assert_array_equal(plain, asked)  # nothing is augmented unless it is asked for


def test_the_numbers_drawn_for_a_seed_stay_the_same():
    """A run is a function of its seed: what is drawn may not change from one version to the next."""
    images = np.arange(40 * 28 * 28, dtype=np.uint32).reshape(40, 28, 28).astype(np.uint8)
    order = [labels.tolist() for _, labels in batches(images, np.arange(40), 10, seed=3, epoch=5)]
    expected = np.random.default_rng((3, 5, 0)).permutation(40).reshape(4, 10)
    assert order == expected.tolist()
    for step, (x, _) in enumerate(batches(images, np.arange(40), 10, seed=3, epoch=5, augmented=True)):
        drawn = augment(images[expected[step]], np.random.default_rng((3, 5, 1 + step)))
        np.testing.assert_array_equal(x, standardise(drawn))


def test_augment_draws_every_shift_and_flip_about_equally(rng):
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10, 12], image[0, 10, 13] = 1, 2  # 1 left of 2, unless mirrored
    out = augment(np.repeat(image, 5000, axis=0), rng, max_shift=2)
    _, row, column = np.nonzero(out == 2)
    mirrored = out[np.arange(5000), row, column - 1] != 1
    start = np.where(mirrored, 27 - 13, 13)
    for drawn, count in ((row - 10 + 2, 5), (column - start + 2, 5), (mirrored.astype(int), 2)):
        share = np.bincount(drawn, minlength=count) / 5000
        assert share.shape == (count,)
        np.testing.assert_allclose(share, 1 / count, atol=0.03)  # more than 4 standard deviations


def test_augment_without_shift_gives_the_image_or_its_mirror_image(rng):
    images, _ = some_images(rng)
    out = augment(images, rng, max_shift=0)
    same = (out == images).all((1, 2))
    np.testing.assert_array_equal(np.where(same[:, None, None], out, out[:, :, ::-1]), images)
    assert 0 < same.sum() < 50


# Batches


def epoch(rng_images, **options):
    images, labels = rng_images
    return list(batches(images, labels, 12, **{"seed": 3, "epoch": 5, "augmented": True} | options))


def assert_same(first, second):
    assert len(first) == len(second)
    for (x1, y1), (x2, y2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x1, x2)
        np.testing.assert_array_equal(y1, y2)


@pytest.mark.parametrize("batch_size, steps_expected", [(12, 4), (10, 5), (50, 1), (1, 50)])
def test_batches_have_shapes_and_each_image_once_with_its_label(batch_size, steps_expected):
    images = np.repeat(np.arange(50, dtype=np.uint8), 28 * 28).reshape(50, 28, 28)
    labels = np.arange(50) % 10
    steps = list(batches(images, labels, batch_size, seed=3, epoch=5))
    assert len(steps) == steps_expected
    assert {(x.shape, x.dtype, y.shape) for x, y in steps} == {
        ((batch_size, 1, 28, 28), np.dtype(np.float32), (batch_size,))
    }
    x, y = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    number = np.rint((x[:, 0, 0, 0] * data.STD + data.MEAN) * 255).astype(int)
    assert len(set(number)) == batch_size * steps_expected and list(number) != sorted(number)
    np.testing.assert_array_equal(y, labels[number])
    np.testing.assert_array_equal(x, data.standardise(images[number]))


def test_batches_are_a_function_of_seed_and_epoch(rng):
    made = some_images(rng)
    assert_same(epoch(made), epoch(made))
    for other in ({"seed": 4}, {"epoch": 6}):
        assert not np.array_equal(epoch(made)[0][1], epoch(made, **other)[0][1])


@pytest.mark.parametrize("start", range(5))
def test_batches_go_on_from_any_step(rng, start):
    made = some_images(rng)
    assert_same(epoch(made, start=start), epoch(made)[start:])


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("ranks", [2, 3, 12])
def test_ranks_share_the_same_batches(rng, ranks, augmented):
    made = some_images(rng)
    parts = [epoch(made, rank=rank, ranks=ranks, augmented=augmented) for rank in range(ranks)]
    assert {len(y) for part in parts for _, y in part} == {12 // ranks}
    joined = [tuple(np.concatenate(z) for z in zip(*step, strict=True)) for step in zip(*parts, strict=True)]
    assert_same(joined, epoch(made, augmented=augmented))


def test_augmentation_leaves_the_order_alone_and_differs_between_steps(rng):
    image = some_images(rng, n=1)[0]
    made = np.repeat(image, 50, axis=0), np.arange(50) % 10
    plain, augmented = epoch(made, augmented=False), epoch(made)
    for (_, labels), (_, same_labels) in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(augmented[0][0], plain[0][0])
    assert len({x.tobytes() for x, _ in augmented}) == 4
    assert not np.array_equal(augmented[0][0], epoch(made, epoch=6)[0][0])


def test_batches_move_images_no_further_than_asked(rng):
    images, labels = some_images(rng)
    for images_of_batch, _ in batches(images, labels, 50, seed=3, epoch=5, augmented=True, max_shift=0):
        either = np.concatenate([standardise(images), standardise(images[:, :, ::-1])])
        assert {x.tobytes() for x in images_of_batch} <= {x.tobytes() for x in either}


def test_batches_refuse_what_does_not_fit_at_the_call(rng):
    images, labels = some_images(rng)
    for wrong, message in (
        ((images, labels[1:], 12, {}), "50 images and 49 labels"),
        ((images, labels, 51, {}), "expected 1 to 50"),
        ((images, labels, 0, {}), "expected 1 to 50"),
        ((images, labels, 12, {"start": 5}), "expected 0 to 4"),
        ((images, labels, 12, {"start": -1}), "expected 0 to 4"),
        ((images, labels, 12, {"rank": 2, "ranks": 2}), "rank=2, ranks=2"),
        ((images, labels, 12, {"ranks": 5}), "ranks dividing batch_size=12"),
        ((images, labels, 12, {"rank": -1, "ranks": 2}), "rank=-1, ranks=2"),
        ((images, labels, 12, {"augmented": True, "max_shift": -1}), "max_shift: expected at least 0, got -1"),
    ):
        *arguments, options = wrong
        with pytest.raises(DataError, match=message):
            batches(*arguments, seed=0, epoch=0, **options)


def test_hold_out_cuts_without_losing_or_sharing_an_image():
    images = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    data = FashionMNIST(images, np.array([3, 1, 4, 1, 5]), "five images")
    rest, held = hold_out(data, 2)
    assert rest.labels.tolist() == [3, 1, 4] and held.labels.tolist() == [1, 5]
    assert (np.concatenate([rest.images, held.images]) == images).all()
    assert (rest.source, held.source) == ("first 3 of five images", "last 2 of five images")
    for count in (0, 5, -1):
        with pytest.raises(DataError, match="expected 1 to 4 images"):
            hold_out(data, count)
