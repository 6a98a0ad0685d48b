"""Where rules are computed: in this process or in others, behind :class:`concurrent.futures.Executor`.

    executor = open_executor("processes:4", timeout=60)
    executor.submit(pow, 2, 10).result()    # 1024

``serial`` is no executor at all (None): the caller computes itself, under :func:`time_limit`.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from seqtutor.domain import SeqtutorError, UsageError, nearest

#: seconds that a fresh process may take to load its domain
START = 600.0


class Died(Exception):
    """A task's process died under it, or was killed at its time limit."""


def open_executor(spec: str, timeout: float, initializer: Callable[..., object] | None = None,
                  *args: Any) -> Executor | None:
    """``serial`` → None, ``processes:N`` → :class:`Processes`; :class:`UsageError` for everything else."""
    kind, _, workers = spec.partition(":")
    if kind not in ("serial", "processes"):
        raise nearest(kind, ("serial", "processes"), "executor")
    if kind == "serial":
        if workers:
            raise UsageError(f"the executor {spec!r} has a number; serial is one process, for more say processes:4")
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,3}", workers):
        raise UsageError(f"the executor {spec!r} needs a number of workers, as in {kind}:4")
    return Processes(int(workers), timeout, initializer, *args)


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


class Processes(Executor):
    """``workers`` fresh processes. A task that kills its process, or is still running after ``timeout`` seconds, fails
    with :class:`Died`, and it alone: the process is replaced and the other tasks never notice.

    Each process calls ``initializer(*args)`` once, outside the time limit. What a task prints goes to stderr.
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
        self._process: Any = None
        self._connection: Connection[Any, Any] | None = None

    def call(self, task: tuple[Any, ...], timeout: float) -> Any:
        if self._connection is None:
            self._start()
        return self._ask(task, timeout)

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._ask(self._first, START)
        except Died as error:
            raise SeqtutorError(f"a scoring process could not start: it {error}; try fewer of them") from None

    def _ask(self, task: tuple[Any, ...], timeout: float) -> Any:
        connection = self._connection
        assert connection is not None
        try:
            connection.send(task)
            if not connection.poll(timeout):
                self.stop()
                raise Died(f"took over {timeout:g} s")
            done, answer = connection.recv()
        except (EOFError, OSError):
            self.stop()
            raise Died("killed its process") from None
        if not done:
            raise answer
        return answer

    def stop(self) -> None:
        process, connection, self._process, self._connection = self._process, self._connection, None, None
        if process is not None and connection is not None:
            process.kill()
            process.join()
            process.close()
            connection.close()


def _serve(connection: Connection[Any, Any]) -> None:
    """The life of a worker process: one task after the other until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.dup2(2, 1)  # stdout is for data
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, function(*args, **kwargs))
        except BaseException as error:
            answer = (False, error)
        try:
            connection.send(answer)
        except Exception as error:  # what cannot be pickled cannot be sent
            connection.send((False, RuntimeError(f"{type(error).__name__}: {error}")))
