"""Writing a file so that there is the old one or the new one, and never half of it."""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError


def replace_file(path, write):
    """Call write(temporary path), for a file beside `path`, and then move that file to `path`.

    The file gets the permissions that the umask gives to any new file. What killed processes left of theirs is removed.
    Raises OSError, in one line that names `path`, if it can't be written; whatever happens, what was at `path` before
    stays there until the new file is complete.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _remove_leftovers(path)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        write(temporary)
        temporary.chmod(mode)  # safetensors makes a file that only its owner may read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name points to it
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # safetensors and torch.save have errors of their own for a full disk
        if isinstance(error, OSError | SafetensorError) or type(error) is RuntimeError:
            raise OSError(f"{path}: can't be written: {_reason(error)}") from error
        raise


def _remove_leftovers(path):
    """Temporary files of processes that no longer run."""
    for file in path.parent.iterdir():
        left = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.tmp", file.name)
        if left and not _runs(int(left[1])):
            with suppress(OSError):
                file.unlink()


def _runs(process):
    if os.name != "posix":
        return True  # there, asking would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path, text):
    """Write `text` as UTF-8 to the file `path`, all of it or nothing. Raises OSError as `replace_file`."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _reason(error):
    return getattr(error, "strerror", None) or " ".join(str(error).split())
