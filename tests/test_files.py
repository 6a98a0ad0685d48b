"""Files are whole or not there; the list of known texts comes back; what cannot be written is said before the work."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.files import atomic, check_readable, check_writable
from seqtutor.known import KnownTexts


def write_half(path: Path, failure: BaseException) -> None:
    path.write_text("half")
    raise failure


def test_atomic_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic(path) as temporary:
        assert temporary.parent == tmp_path  # another file system could not be renamed from
        assert temporary.suffix == ".txt"
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError("bad row"), KeyboardInterrupt(), MemoryError(), SystemExit(3)])
def test_any_failure_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(type(failure)), atomic(path) as temporary:
        write_half(temporary, failure)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_the_system_says_no(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(SeqtutorError) as caught, atomic(path) as temporary:
        write_half(temporary, OSError(code, os.strerror(code)))
    assert str(caught.value) == (f"cannot write {path}: {os.strerror(code)}; "
                                 "free some space or choose another place")
    assert caught.value.exit_code == 1
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_really_fills_up(tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with full_disk(1000), pytest.raises(SeqtutorError, match="cannot write"), atomic(path) as temporary:
        temporary.write_bytes(bytes(5000))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    earlier = os.umask(umask)
    try:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
        assert os.umask(umask) == umask  # and left as it was
    finally:
        os.umask(earlier)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, words in ((tmp_path, "it is a folder; name a file in it"),
                        (tmp_path / "no" / "a.csv", f"the folder {tmp_path / 'no'} does not exist; create it first"),
                        (Path("/dev/null"), "it is not a file")):
        for ask in (check_writable, lambda p: atomic(p).__enter__()):
            with pytest.raises(UsageError) as caught:
                ask(path)
            assert str(caught.value).startswith(f"cannot write {path}: {words}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SeqtutorError, match="nothing may be written in"):
        check_writable(tmp_path / "a.csv")
    assert os.listdir(tmp_path) == []


def test_check_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    with pytest.raises(UsageError, match=f"there is no file {path}"):
        check_readable(path)
    with pytest.raises(UsageError, match=f"{tmp_path} is a folder"):
        check_readable(tmp_path)
    path.touch()
    assert check_readable(path) == path

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(UsageError, match=f"cannot read {path}: Permission denied"):
        check_readable(path)


# -- known texts ----------------------------------------------------------------------------------------------------


def test_known_texts_come_back(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(1000)]
    model = tmp_path / "prior.safetensors"
    KnownTexts.of([*texts, *texts[:10]]).save(model)
    known = KnownTexts.load(model)
    assert os.listdir(tmp_path) == ["prior.known.npy"]
    assert len(known) == 1000
    assert all(text in known for text in texts)
    assert not any(text + " " in known for text in texts)
    assert "" not in known


def test_nothing_known(tmp_path: Path) -> None:
    KnownTexts.of([]).save(tmp_path / "a.safetensors")
    assert "x" not in KnownTexts.load(tmp_path / "a.safetensors")


def test_lists_that_are_none(tmp_path: Path) -> None:
    model = tmp_path / "prior.safetensors"
    path = KnownTexts.path(model)

    def refused() -> str:
        with pytest.raises(UsageError) as caught:
            KnownTexts.load(model)
        assert "\n" not in str(caught.value)
        return str(caught.value)
    assert "has no list of what it was trained on" in refused()
    KnownTexts.of(f"{i}" for i in range(100)).save(model)
    content = path.read_bytes()
    for cut in (0, 5, 60, 200, len(content) - 1):
        path.write_bytes(content[:cut])
        assert "is damaged" in refused(), cut
    path.write_text("CCO\nCCN\n")
    assert "is damaged" in refused()
    np.save(path, np.array([{"an": "object"}]), allow_pickle=True)
    assert "is damaged" in refused()  # and not unpickled
    with open(path, "wb") as file:
        np.savez(file, a=np.arange(3, dtype=np.uint64))
    assert "is damaged" in refused()
    for wrong in (np.arange(5), np.zeros((2, 2), np.uint64), np.array([3, 1, 2], np.uint64)):
        np.save(path, wrong)
        assert "is not a list of known texts" in refused()
