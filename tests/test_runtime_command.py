"""Every command ends with its status, and with one line for what the user can put right."""

import subprocess
import sys

import pytest

from swin_numpy.runtime.command import exit_status


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize("result, status", [(None, 0), (0, 0), (1, 1), (130, 130)])
def test_the_status_is_what_the_work_returns(result, status, capsys):
    assert exit_status("prog", lambda: result) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error, status, line",
    [
        (ValueError("width: expected 1,\n  got 2"), 2, "prog: width: expected 1, got 2"),
        (FileNotFoundError(2, "No such file", "a.npz"), 2, "prog: [Errno 2] No such file: 'a.npz'"),
        (MemoryError("Unable to allocate 3 TiB"), 2, "prog: not enough memory (Unable to allocate 3 TiB)"),
        (RuntimeError("can't allocate memory: 9 bytes"), 2, "prog: not enough memory (can't allocate memory: 9 bytes)"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_what_the_user_can_put_right_is_one_line(error, status, line, capsys):
    assert exit_status("prog", raising(error)) == status
    assert capsys.readouterr().err == line + "\n"


def test_a_message_has_a_limit(capsys):
    exit_status("prog", raising(ValueError("x" * 10**6)))
    assert len(capsys.readouterr().err) < 2100


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("x"), ZeroDivisionError()])
def test_a_bug_is_not_hidden(error):
    with pytest.raises(type(error)):
        exit_status("prog", raising(error))


TALKING = (
    "from swin_numpy.runtime.command import exit_status\nimport sys\nsys.exit(exit_status('prog', lambda: print({})))"
)


def test_a_full_disk_behind_standard_output(tmp_path):
    for text in ("'hello'", "'x' * 100_000"):  # one stays in the buffer until the end, one doesn't
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-c", TALKING.format(text)]
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert result.returncode == 2 and result.stderr == "prog: [Errno 28] No space left on device\n"


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    command = [sys.executable, "-c", TALKING.format("'x' * 1_000_000")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1
