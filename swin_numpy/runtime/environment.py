"""One line that says on what something ran, for everything that prints a measurement."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version


def environment(*packages):
    """The versions of Python and of these packages, and the machine.

    Such as "Python 3.12.3, numpy 2.4.6, torch 2.13.0; Linux x86_64, AMD EPYC, 2 cores".
    """
    versions = [f"Python {platform.python_version()}"] + [f"{name} {_installed(name)}" for name in packages]
    return f"{', '.join(versions)}; {platform.system()} {platform.machine()}, {_processor()}, {core_count()} cores"


def _installed(package):
    """The version of an installed package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor():
    """The processor's name as the operating system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def core_count():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
