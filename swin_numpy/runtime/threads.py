"""Work shared out among the processor's cores.

NumPy's BLAS library spreads a large matrix product over all cores, and nothing else is spread. But NumPy lets other
Python threads run while it computes. So here each thread takes a share of the data through many steps, and each of its
matrix products stays on its own core. (Threads that share each single step spend their time waiting for one another.)
How the data is divided doesn't depend on the number of cores, so the results don't either.

OMP_NUM_THREADS=1 in the environment keeps everything on one core, matrix products included.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache

from threadpoolctl import ThreadpoolController


def share_out(work, tasks):
    """Call work(task) for every task, on all cores. The calling thread works too, and alone if there is one task.

    tasks: an iterable. What `work` raises is raised here, once every thread has stopped.
    """
    tasks = list(tasks)
    helpers = min(worker_count(), len(tasks)) - 1
    if helpers < 1 or not _blas():  # a BLAS library that can't be limited uses all cores by itself
        for task in tasks:
            work(task)
        return
    remaining = iter(tasks)

    def work_through():
        for task in remaining:  # the threads share this iterator: whichever is free takes the next task
            work(task)

    with one_blas_thread():
        futures = [_pool().submit(copy_context().run, work_through) for _ in range(helpers)]
        try:
            work_through()
        finally:
            # A helper that hasn't started has nothing left to do: cancel it. When a task itself shares out work,
            # waiting for an unstarted future could deadlock, since every thread of the pool might be doing so.
            errors = [future.exception() for future in futures if not future.cancel()]
        for error in filter(None, errors):
            raise error


@cache
def worker_count():
    """How many threads share the work: one for each core that this process may use, unless the environment says fewer.

    OPENBLAS_NUM_THREADS and OMP_NUM_THREADS are the variables that NumPy's matrix products obey, too.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit():
            return max(1, int(os.environ[name]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool():
    """The threads that help the calling one, started when first needed: never where there is one worker only."""
    return ThreadPoolExecutor(worker_count() - 1, "swin_numpy")


@cache
def _blas():
    """The BLAS libraries that NumPy's products can use. Finding them takes milliseconds, limiting them microseconds."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


_lock = threading.Lock()
_inside = set()  # the threads that are inside one_blas_thread
_before = []  # how many threads each library used before


@contextmanager
def one_blas_thread():
    """Inside, every matrix product stays on the thread that asks for it. The limit ends when the last thread leaves.

    It holds for the whole process, so other threads' products are limited too while it lasts.
    """
    me = threading.get_ident()
    if me in _inside:
        yield
        return
    with _lock:
        if not _inside:
            _before[:] = [library.num_threads for library in _blas()]
            _set_blas_threads([1] * len(_before))
        _inside.add(me)
    try:
        yield
    finally:
        with _lock:
            _leave({me})


def _leave(idents):
    _inside.difference_update(idents)
    if not _inside:
        _set_blas_threads(_before)


def _set_blas_threads(counts):
    for library, count in zip(_blas(), counts, strict=True):
        # threadpoolctl lets only one thread set OpenBLAS's number until that thread gives it up. Here the last thread
        # that leaves sets it back, whichever that is.
        give_up = getattr(library, "clear_controlling_thread", lambda force: None)
        give_up(force=True)
        library.set_num_threads(count)
        give_up(force=True)


def _after_fork():
    """In a forked process, only the thread that forked goes on: the others must neither be waited for nor counted."""
    _pool.cache_clear()
    if _inside:
        _leave(_inside - {threading.get_ident()})
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)
