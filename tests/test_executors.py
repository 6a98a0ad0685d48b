"""Executors: results, errors and deaths come home; what hangs is given up; a scheduler that is not there is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.executors import Died, Processes, open_executor, scatter, time_limit

KINDS = ["threads:2", "processes:2", "dask:2"]


def opened(spec: str, timeout: float = 60, *first: Any) -> Executor:
    if spec.startswith("dask"):
        pytest.importorskip("distributed")
    executor = open_executor(spec, timeout, *first)
    assert executor is not None
    return executor


@pytest.mark.parametrize("spec", KINDS)
def test_results_and_errors(spec: str) -> None:
    with opened(spec) as pool:
        futures = [pool.submit(pow, 2, i) for i in range(20)]
        assert [future.result() for future in futures] == [2 ** i for i in range(20)]
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        assert list(pool.map(len, ["a", "bb"])) == [1, 2]


@pytest.mark.parametrize("spec", KINDS)
def test_what_hangs_is_given_up(spec: str) -> None:
    with opened(spec, 1.0) as pool:
        start = time.monotonic()
        with pytest.raises(Died, match=r"took over 1 s"):
            pool.submit(time.sleep, 20).result()
        assert time.monotonic() - start < 20
        assert pool.submit(len, "abc").result() == 3


@pytest.mark.parametrize("spec", KINDS[1:])
def test_a_death_is_alone(spec: str) -> None:
    with opened(spec) as pool:
        doomed = pool.submit(signal.raise_signal, signal.SIGKILL)
        others = [pool.submit(len, "x" * i) for i in range(6)]
        with pytest.raises(Died, match="killed its process"):
            doomed.result()
        assert [future.result() for future in others] == [0, 1, 2, 3, 4, 5]


def test_what_cannot_be_sent() -> None:
    with Processes(1, 60) as pool:
        with pytest.raises(RuntimeError, match="pickle"):
            pool.submit(memoryview, b"").result()
        pool.submit(print, "said on stdout").result()  # goes to stderr, not between the answers
        assert pool.submit(len, "abc").result() == 3


def test_a_child_dies_with_its_task(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Processes(1, 1.5) as pool, pytest.raises(Died):
        pool.submit(subprocess.run, ["sh", "-c", f"sleep 5; touch {mark}"]).result()
    time.sleep(5)
    assert not mark.exists()


def test_the_initializer_has_no_time_limit() -> None:
    with opened("processes:1", 1.0, time.sleep, 2) as pool:
        assert pool.submit(len, "ab").result() == 2
    with opened("processes:1", 60, os._exit, 3) as pool, pytest.raises(SeqtutorError, match="could not start: it k"):
        pool.submit(len, "ab").result()


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from seqtutor.executors import Processes\n"
                      "with Processes(2, 60) as pool:\n    print(list(pool.map(len, ['a', 'bb'])))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[1, 2]\n"


def refuse(batch: list[int]) -> list[int]:
    if 3 in batch:
        raise Died("found a 3")
    if 9 in batch:
        raise KeyError(9)
    return batch


def test_scatter_finds_the_one_that_dies() -> None:
    with opened("threads:2") as pool:
        found = [(list(part), result) for part, result in scatter(pool, refuse, [1, 2, 3, 4, 5, 6], 4)]
        assert [part for part, _ in found] == [[1], [2], [3], [4], [5, 6]]
        assert [str(result) for _, result in found] == ["[1]", "[2]", "found a 3", "[4]", "[5, 6]"]
        with pytest.raises(KeyError):
            list(scatter(pool, refuse, [9], 1))


@pytest.mark.parametrize(("spec", "words"), [
    ("proceses:2", "unknown executor 'proceses'; did you mean 'processes:N'"),
    ("processes", "the executor 'processes' needs a number of workers, as in processes:4"),
    ("processes:0", "needs a number of workers"), ("threads:x", "as in threads:4"),
    ("serial:3", "serial is one process"),
    ("dask", "needs a number of workers, as in dask:4, or the address of a scheduler, as in dask:tcp://10.0.0.1:8786"),
])
def test_bad_executors(spec: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_executor(spec, 1)
    assert words in str(caught.value)
    assert open_executor("serial", 1) is None


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("seqtutor.executors.ANSWER", 1.0)
    with pytest.raises(SeqtutorError) as caught:
        open_executor("dask:tcp://127.0.0.1:9", 1)
    assert str(caught.value).startswith("no dask scheduler answers at tcp://127.0.0.1:9 within 1 s (")
    assert str(caught.value).endswith("start one with `dask scheduler`")


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"needs the package distributed; pip install 'seqtutor\[dist\]'"):
        open_executor("dask:2", 1)


def test_time_limit_leaves_other_threads_alone() -> None:
    done = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
