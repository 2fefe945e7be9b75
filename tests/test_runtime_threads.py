"""Work shared out among threads: every task once, limits that end, forked processes."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from swin_numpy.runtime import threads

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
LIMITED = pytest.mark.skipif(not threads._blas(), reason="a BLAS library that can't be limited")


@pytest.fixture
def workers(monkeypatch):
    """Call it with a number: so many threads share the work, in a pool of their own."""
    pool = threads._pool

    def set_to(count):
        monkeypatch.setattr(threads, "worker_count", lambda: count)
        pool.cache_clear()

    yield set_to
    pool.cache_clear()


@contextmanager
def blas_threads(count):
    """NumPy's BLAS library set to `count` threads for the time of a test."""
    with threadpool_limits(count, user_api="blas"):
        yield


def blas_now():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def meet(count):
    """A task that needs `count` threads at once: it ends only when so many are inside. Raises after ten seconds."""
    barrier = threading.Barrier(count)
    return lambda _: barrier.wait(timeout=10)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("tasks", [0, 1, 2, 5, 40])
def test_every_task_once(count, tasks, workers):
    workers(count)
    done = []
    threads.share_out(done.append, iter(range(tasks)))
    assert sorted(done) == list(range(tasks))


@LIMITED
@pytest.mark.parametrize("count", [2, 3])
def test_as_many_threads_as_workers_at_once(count, workers):
    workers(count)
    threads.share_out(meet(count), range(count))


def test_the_calling_thread_works_too(workers):
    workers(2)
    seen = []

    def work(task):
        seen.append(threading.get_ident())
        meeting(task)

    meeting = meet(2)
    threads.share_out(work, range(2))
    assert threading.get_ident() in seen and len(set(seen)) == 2


@pytest.mark.parametrize("tasks, count", [(1, 5), (5, 1)])
def test_one_task_or_one_worker_needs_no_other_thread(tasks, count, workers, monkeypatch):
    workers(count)
    monkeypatch.setattr(threads, "_pool", lambda: pytest.fail("a pool was made"))
    seen = set()
    threads.share_out(lambda _: seen.add(threading.get_ident()), range(tasks))
    assert seen == {threading.get_ident()}


def test_a_library_that_cannot_be_limited_keeps_the_cores_to_itself(workers, monkeypatch):
    workers(2)
    monkeypatch.setattr(threads, "_blas", list)
    seen = set()
    threads.share_out(lambda _: seen.add(threading.get_ident()), range(8))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize("where", ["caller", "helper"])
def test_what_goes_wrong_is_raised_when_every_thread_has_stopped(where, workers):
    workers(2)
    caller, meeting, finished = threading.get_ident(), meet(2), []

    def work(task):
        meeting(task)
        if (threading.get_ident() == caller) == (where == "caller"):
            raise ValueError("this task")
        finished.append(task)

    with pytest.raises(ValueError, match="this task"):
        threads.share_out(work, range(2))
    assert len(finished) == 1


def test_tasks_that_share_out_work_themselves(workers):
    """All threads of the pool are inside such tasks, so none is left to begin what these share out."""
    workers(3)
    done, meeting = [], meet(3)

    def outer(i):
        meeting(i)
        threads.share_out(lambda j: done.append((i, j)), range(4))

    threads.share_out(outer, range(3))
    assert sorted(done) == [(i, j) for i in range(3) for j in range(4)]


def test_numpys_error_state_reaches_the_helpers(workers):
    workers(2)
    meeting, found = meet(2), []

    def work(task):
        meeting(task)
        found.append(np.geterr()["over"])

    with np.errstate(over="raise"):
        threads.share_out(work, range(2))
    assert found == ["raise", "raise"]


@LIMITED
def test_products_stay_on_one_thread_inside_and_have_their_threads_back_afterwards(workers):
    workers(2)
    with blas_threads(3):
        inside = []
        threads.share_out(lambda _: inside.append(blas_now()), range(4))
        assert inside == [{1}] * 4 and blas_now() == {3}
        with pytest.raises(ZeroDivisionError), threads.one_blas_thread():
            raise ZeroDivisionError
        assert blas_now() == {3}


@LIMITED
def test_limits_within_limits():
    with blas_threads(3):
        with threads.one_blas_thread():
            with threads.one_blas_thread():
                assert blas_now() == {1}
            assert blas_now() == {1}
        assert blas_now() == {3}


def in_a_limit(leave):
    """A thread that is inside one_blas_thread until leave.set()."""
    entered = threading.Event()

    def stay():
        with threads.one_blas_thread():
            entered.set()
            leave.wait(timeout=10)

    thread = threading.Thread(target=stay)
    thread.start()
    assert entered.wait(timeout=10)
    return thread


@LIMITED
def test_the_limit_ends_when_the_last_thread_leaves():
    with blas_threads(3):
        first, second = threading.Event(), threading.Event()
        one, other = in_a_limit(first), in_a_limit(second)
        first.set()
        one.join()
        assert blas_now() == {1}
        second.set()
        other.join()
        assert blas_now() == {3}


def in_a_fork(check):
    """check() in a forked process: is what it returns true?"""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


@FORKS
@LIMITED
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(workers):
    """The parent's pool says that it has a thread, but in the child that thread doesn't run."""
    workers(2)
    threads.share_out(meet(2), range(2))

    def check():
        threads.share_out(meet(2), range(2))
        return True

    assert in_a_fork(check)
    threads.share_out(meet(2), range(2))


@FORKS
@LIMITED
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_forgets_the_limits_of_threads_that_it_has_not():
    with blas_threads(3):
        leave = threading.Event()
        thread = in_a_limit(leave)

        def check():
            before = blas_now()
            with threads.one_blas_thread():
                inside = blas_now()
            return before == blas_now() == {3} and inside == {1}

        assert in_a_fork(check)
        assert blas_now() == {1}
        leave.set()
        thread.join()
        assert blas_now() == {3}


@FORKS
@LIMITED
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_inside_a_limit_leaves_it_itself():
    with blas_threads(3):
        limit = threads.one_blas_thread()
        limit.__enter__()

        def check():
            inside = blas_now()
            limit.__exit__(None, None, None)
            return inside == {1} and blas_now() == {3}

        assert in_a_fork(check)
        limit.__exit__(None, None, None)
        assert blas_now() == {3}


COUNTS = {
    "OMP_NUM_THREADS=1": 1,
    "OMP_NUM_THREADS=3": 3,
    "OPENBLAS_NUM_THREADS=2 OMP_NUM_THREADS=3": 2,
    "OMP_NUM_THREADS=0": 1,
    "OMP_NUM_THREADS=many": None,
    "": None,
}


@pytest.mark.parametrize("variables", COUNTS)
def test_worker_count(variables, monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (pair.split("=") for pair in variables.split()):
        monkeypatch.setenv(name, value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.worker_count.__wrapped__() == (COUNTS[variables] or cores)


def test_worker_count_where_the_system_does_not_say(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for cores in (6, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert threads.worker_count.__wrapped__() == (cores or 1)


def test_importing_starts_no_thread():
    code = "import threading, swin_numpy; print(threading.active_count())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "1", result.stderr
