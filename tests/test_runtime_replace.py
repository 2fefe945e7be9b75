"""A file is written whole or not at all, with the permissions of any other new file; a full disk is really filled."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch

from swin_numpy.runtime.replace import replace_file, write_text
from swin_numpy.weights.files import read_file, save_checkpoint

STATE = {"head.weight": np.arange(60_000, dtype=np.float32)}


def save_pickle(path):
    replace_file(path, lambda temporary: torch.save({"head.weight": torch.arange(60_000.0)}, temporary))


WRITERS = {
    "a.safetensors": lambda path: save_checkpoint(path, STATE),
    "a.npz": lambda path: save_checkpoint(path, STATE),
    "a.pth": save_pickle,
    "a.txt": lambda path: write_text(path, "x" * 240_000),
}


@pytest.fixture(params=WRITERS)
def writer(request, tmp_path):
    """(path in a folder of its own, function that writes 240 kB there)."""
    return tmp_path / request.param, WRITERS[request.param]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(writer, umask, mode):
    path, write = writer
    before = os.umask(umask)
    try:
        write(path)
        write(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("where", ["nowhere/", "file/", ""])
def test_a_bad_target_is_one_line(writer, where, tmp_path):
    (tmp_path / "file").write_text("")
    path, write = tmp_path / where / writer[0].name, writer[1]
    if not where:
        path.mkdir()
    with pytest.raises(OSError, match="can't be written: ") as caught:
        write(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")]


FULL = """
import resource, sys
from pathlib import Path
from tests.test_runtime_replace import WRITERS
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # no file can grow beyond it, as on a full disk
path = Path(sys.argv[1])
try:
    WRITERS[path.name](path)
except OSError as error:
    sys.exit(str(error))
"""


def test_no_room_for_the_file_leaves_the_old_one(writer):
    path, write = writer
    write(path)
    before = path.read_bytes()
    result = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith(f"{path}: can't be written: "), result.stderr
    assert result.stderr.count("\n") == 1
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_disk_that_is_really_full(writer, tmp_path):
    """Where we may mount one: a file system in memory of 160 kB, with a first, small file on it."""
    path, write = writer
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a file system")
    try:
        write_text(disk / path.name, "old")
        with pytest.raises(OSError, match="can't be written: "):
            write(disk / path.name)
        assert (disk / path.name).read_text() == "old" and len(list(disk.iterdir())) == 1
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, NotImplementedError])
def test_other_errors_stay_what_they_are_and_leave_the_old_file(error, tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def broken(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(error):
        replace_file(path, broken)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_what_was_written_is_read_again(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", STATE)
    np.testing.assert_array_equal(read_file(tmp_path / "a.safetensors")[0]["head.weight"], STATE["head.weight"])
    write_text(str(tmp_path / "a.txt"), "Größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\n".encode()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = [f".a+b.npz.{ended.pid}.tmp", f".a+b.npz.{10**30}.tmp"]
    kept = [f".a+b.npz.{os.getppid()}.tmp", f".aab.npz.{ended.pid}.tmp", ".a+b.npz.x.tmp", f"a+b.npz.{ended.pid}.tmp"]
    for name in left + kept:
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "a+b.npz", "new")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a+b.npz"])
