"""How every command ends: with an exit status, and with one line on stderr for what can't be done."""

import os
import sys


def exit_status(prog, work):
    """Call work() and return its exit status; None is 0.

    What the user can put right (ValueError, OSError, too little memory) becomes one line and status 2, Ctrl-C becomes
    status 130. Any other exception is a bug and is raised.
    """
    try:
        status = work() or 0
        sys.stdout.flush()  # a full disk shows here, not after the last line of the program
        return status
    except KeyboardInterrupt:
        return _end(130, "Stopped.")
    except BrokenPipeError:  # the reader has seen enough: `… | head`
        return _end(1)
    except (ValueError, OSError) as error:
        return _end(2, f"{prog}: {_one_line(error)}")
    except (MemoryError, RuntimeError) as error:  # PyTorch raises a RuntimeError for too little memory
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        return _end(2, f"{prog}: not enough memory ({_one_line(error)})")


def _end(status, line=""):
    try:
        sys.stdout.flush()
    except OSError:  # what is left in the buffer can't be written, and Python would try again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if line:
        print(line, file=sys.stderr)
    return status


def _one_line(error):
    return " ".join(str(error).split())[:2000]
