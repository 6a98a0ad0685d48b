"""Where rules are computed: in this process or in others, behind :class:`concurrent.futures.Executor`.

    executor = open_executor("processes:4", timeout=60)
    executor.submit(pow, 2, 10).result()    # 1024

``serial`` is no executor at all (None): the caller computes itself, under :func:`time_limit`. A task that dies or hangs
fails alone, with :class:`Died`, on ``processes:N`` and ``dask:…``. On ``threads:N`` one that hangs does so too, but
one that kills its process kills this one.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from seqtutor.domain import SeqtutorError, UsageError, nearest

#: seconds that a fresh process may take to load its domain
START = 600.0
#: seconds to wait for a dask scheduler
ANSWER = 10.0


class Died(Exception):
    """A task's process died under it, or was killed at its time limit."""


def open_executor(spec: str, timeout: float, initializer: Callable[..., object] | None = None,
                  *args: Any) -> Executor | None:
    """``serial`` → None, ``threads:N``, ``processes:N``, ``dask:N`` (on this machine) or ``dask:ADDRESS`` of a
    scheduler. ``timeout``: seconds a task. Each worker calls ``initializer(*args)`` first, outside that limit.

    Raises :class:`UsageError` for everything else and :class:`SeqtutorError` where no scheduler answers.
    """
    kind, _, where = spec.partition(":")
    if kind not in ("serial", "threads", "processes", "dask"):
        raise nearest(kind, ("serial", "threads:N", "processes:N", "dask:N", "dask:ADDRESS"), "executor")
    if kind == "serial":
        if where:
            raise UsageError(f"the executor {spec!r} has a number; serial is one process, for more say processes:4")
        return None
    several = re.fullmatch(r"[1-9][0-9]{0,3}", where)
    if kind == "dask" and not several and re.fullmatch(r"(\w+://)?[\w.\[\]:-]+:[0-9]+", where):
        return Dask(where, timeout, initializer, *args)
    if not several:
        other = ", or the address of a scheduler, as in dask:tcp://10.0.0.1:8786" if kind == "dask" else ""
        raise UsageError(f"the executor {spec!r} needs a number of workers, as in {kind}:4{other}")
    return {"threads": Threads, "processes": Processes, "dask": Dask}[kind](int(where), timeout, initializer, *args)


def scatter(executor: Executor, function: Callable[[Any], Any], items: Sequence[Any], size: int) \
        -> Iterator[tuple[Sequence[Any], Any]]:
    """(part, ``function(part)``) for parts of up to ``size`` items, in order. The items of a part that died are tried
    one by one; one that dies alone has the :class:`Died` in place of a result. Other errors are raised."""
    parts = [items[i:i + size] for i in range(0, len(items), size)]
    for part, future in [(part, executor.submit(function, part)) for part in parts]:
        error = future.exception()
        if isinstance(error, Died) and len(part) > 1:
            yield from scatter(executor, function, part, 1)
        else:
            yield part, error if isinstance(error, Died) else future.result()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises :class:`TimeoutError` in what runs longer. Only in a main thread, on systems with alarms, and not in code
    that never comes back to the interpreter; worker processes have no such gaps."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"took over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- processes -------------------------------------------------------------------------------------------------------

class Processes(Executor):
    """``workers`` fresh processes. A task that kills its process, or is still running after ``timeout`` seconds, fails
    with :class:`Died`, and it alone: the process is replaced and the other tasks never notice.

    What a task prints goes to stderr. Functions and arguments are pickled; a script needs no ``__main__`` guard.
    """

    def __init__(self, workers: int, timeout: float, initializer: Callable[..., object] | None = None, *args: Any):
        self.timeout = timeout
        self._workers = [_Worker(initializer, args) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="seqtutor-process")  # each drives one process

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._run, (fn, args, kwargs))

    def _run(self, task: tuple[Any, ...]) -> Any:
        worker = self._idle.get()
        try:
            return worker.call(task, self.timeout)
        finally:
            self._idle.put(worker)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait and not cancel_futures, cancel_futures=cancel_futures)
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process, started when first needed and again after it was stopped. Used by one thread at a time."""

    def __init__(self, initializer: Callable[..., object] | None, args: tuple[Any, ...]):
        self._first: tuple[Any, ...] = (initializer, args, {}) if initializer else (bool, (), {})
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, task: tuple[Any, ...], timeout: float) -> Any:
        if self._process is None:
            # A session of its own: Ctrl-C is the parent's to handle, and the children of a task die with it.
            self._process = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.path[:] = sys.argv[1:]; "
                 "from seqtutor.executors import serve; serve()", *sys.path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            try:
                self._ask(self._first, START)
            except Died as error:
                raise SeqtutorError(f"a scoring process could not start: it {error}; try fewer of them") from None
        return self._ask(task, timeout)

    def _ask(self, task: tuple[Any, ...], timeout: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def ring() -> None:
            late.set()
            kill_group(process)

        alarm = threading.Timer(timeout, ring)
        alarm.daemon = True
        alarm.start()
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            done, answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError, ValueError):
            self.stop()
            raise Died(f"took over {timeout:g} s" if late.is_set() else "killed its process") from None
        finally:
            alarm.cancel()
        if not done:
            raise answer
        return answer

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            kill_group(process)
            process.wait()
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a process that was started with ``start_new_session=True``, and its children."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def serve() -> None:
    """The life of a worker process: tasks from stdin, answers to stdout, until the parent closes the pipe."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a rule prints is not an answer
    while True:
        try:
            function, args, kwargs = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer = (True, function(*args, **kwargs))
        except BaseException as error:
            answer = (False, error)
        try:
            data = pickle.dumps(answer)
            if not answer[0]:
                pickle.loads(data)
        except Exception as error:  # what cannot be pickled cannot be sent; some errors cannot be read again
            data = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        answers.write(data)
        answers.flush()


# -- threads ---------------------------------------------------------------------------------------------------------

class Threads(Executor):
    """``workers`` threads of this process, for rules that wait for something else. A task still running after
    ``timeout`` seconds fails with :class:`Died` and is left behind; it cannot be stopped."""

    def __init__(self, workers: int, timeout: float, initializer: Callable[..., object] | None = None, *args: Any):
        if initializer is not None:
            initializer(*args)
        self.timeout = timeout
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="seqtutor-thread")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()  # a daemon: what hangs does not keep the program alive
        try:
            future.exception(self.timeout)
        except TimeoutError:
            raise Died(f"took over {self.timeout:g} s") from None
        return future.result()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait and not cancel_futures, cancel_futures=cancel_futures)


# -- dask ------------------------------------------------------------------------------------------------------------

class Dask(Executor):
    """A dask cluster: ``where`` is a number of workers on this machine, or the address of a scheduler.

    On each worker the tasks run in a process of their own, as in :class:`Processes`, so that whatever one does the
    worker lives. The workers need seqtutor and the domain installed. A worker that is lost is dask's to replace.
    """

    def __init__(self, where: int | str, timeout: float, initializer: Callable[..., object] | None = None, *args: Any):
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise UsageError("the executor dask needs the package distributed; pip install 'seqtutor[dist]'") from None
        self.timeout, self._first, self._session = timeout, (initializer, args), uuid4().hex
        self._cluster: Any = None
        if isinstance(where, int):
            # One process of threads is enough: the work is done in processes of their own.
            self._cluster = LocalCluster(  # type: ignore[no-untyped-call, unused-ignore]
                n_workers=1, threads_per_worker=where, processes=False, dashboard_address=":0")
        try:
            self._client: Any = Client(self._cluster or where, timeout=ANSWER,  # type: ignore[no-untyped-call, unused-ignore]
                                       set_as_default=False)
        except (OSError, ValueError) as error:
            raise SeqtutorError(f"no dask scheduler answers at {where} within {ANSWER:g} s "
                                f"({type(error).__name__}); start one with `dask scheduler`") from None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()
        inner = self._client.submit(_isolated, self._session, self._first, (fn, args, kwargs), self.timeout, pure=False)

        def finish(future: Any) -> None:
            try:
                done, answer = future.result()
            except Exception as error:  # seqtutor is not there, the connection is lost, the worker was killed …
                done, answer = False, SeqtutorError(f"dask could not run a task ({type(error).__name__}: {error})")
            outer.set_result(answer) if done else outer.set_exception(answer)

        inner.add_done_callback(finish)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with suppress(Exception):  # the cluster may be gone
            self._client.run(_stop, self._session)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


#: in a dask worker: (session, thread) → the process in which it works
_owned: dict[tuple[str, int], _Worker] = {}


def _isolated(session: str, first: tuple[Any, ...], task: tuple[Any, ...], timeout: float) -> tuple[bool, Any]:
    """(True, result) of ``task`` in the process that belongs to this thread of a dask worker, or (False, error): dask
    would log an error that is raised."""
    key = (session, threading.get_ident())
    if key not in _owned:
        initializer, args = first
        _owned[key] = _Worker(initializer, args)
    try:
        return True, _owned[key].call(task, timeout)
    except Exception as error:
        return False, error


def _stop(session: str) -> None:
    for key in [key for key in _owned if key[0] == session]:
        _owned.pop(key).stop()
