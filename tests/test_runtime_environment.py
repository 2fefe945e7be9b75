"""The line that says on what something ran."""

import os
import platform
import re

import numpy as np

from swin_numpy.runtime import environment as module
from swin_numpy.runtime.environment import core_count, environment


def test_the_line_has_the_versions_and_the_machine():
    line = environment("numpy", "no-such-package")
    start = f"Python {platform.python_version()}, numpy {np.__version__}, no-such-package not installed; "
    assert line.startswith(start + f"{platform.system()} {platform.machine()}, ") and "\n" not in line
    assert re.search(rf", {core_count()} cores$", line)


def test_the_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 3, 5} if process == 0 else set(), raising=False)
    assert core_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert core_count() == 7


def test_a_processor_without_a_name(monkeypatch):
    def missing(*arguments, **more):
        raise OSError

    monkeypatch.setattr("builtins.open", missing)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert module._processor() == "unknown processor"
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert module._processor() == "arm"
