"""Work shared among a processor's cores.

NumPy gives a large matrix product to all cores by itself, and everything else to one. But it lets other Python threads
run while it computes. So here each thread takes a share of the data through many steps, and its matrix products stay on
its own core. (Threads that share each step instead spend their time waiting for one another.) How the data is shared
out is never up to the number of cores, so the results are the same on any number of them.

OMP_NUM_THREADS=1 in the environment keeps all on one core, as it does for matrix products.
"""

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache

import numpy as np


def run(work, tasks):
    """work(task) for every task, on all cores. The caller's own thread works too, and alone if there is but one task.

    Whatever `work` raises is raised here, once no thread works any more.
    """
    tasks = list(tasks)
    helpers = min(threads(), len(tasks)) - 1 if blas() else 0
    if helpers < 1:
        for task in tasks:
            work(task)
        return
    rest = iter(tasks)

    def work_on():
        for task in rest:  # the threads share this iterator: whoever is done takes the next
            work(task)

    with one_thread_each():
        futures = [pool().submit(copy_context().run, work_on) for _ in range(helpers)]
        try:
            work_on()
        finally:
            # One that has not begun has nothing left to do. Waiting for it could take for ever: within a task.
            errors = [future.exception() for future in futures if not future.cancel()]
        for error in filter(None, errors):
            raise error


@cache
def threads():
    """How many threads work at once: one for each core that this process may use, or as many as the user asks for."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # what NumPy's matrix products look at, too
        if os.environ.get(name, "").isdigit():
            return max(1, int(os.environ[name]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def pool():
    """The threads that help the caller's; made when they are first needed."""
    return ThreadPoolExecutor(max(1, threads() - 1), "swin_numpy")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a forked process has none of its parent's threads


@cache
def blas():
    """(get, set) of the number of threads in OpenBLAS, the library behind NumPy's products; () if it is another one."""
    try:
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)
    except (AttributeError, OSError):
        return ()
    for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
        if hasattr(library, name.format("set")):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return ()


_lock, _inside, _before = threading.Lock(), 0, 1


@contextmanager
def one_thread_each():
    """Matrix products stay on the thread that asks for them, until the last one who wanted it has left."""
    global _inside, _before
    get, put = blas() or (lambda: 1, lambda _: None)
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = get()
            put(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                put(_before)
