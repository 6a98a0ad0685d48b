"""Files are written whole or not at all, and what cannot be read or written is said in one line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqtutor.domain import SeqtutorError, UsageError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of ``path``, with its suffix; renames it to ``path`` on success.

    On any failure, Ctrl-C included, the temporary file goes and an earlier ``path`` stays as it was. A missing
    folder, a read-only one or a full disk raise :class:`SeqtutorError` with what to do.
    """
    path = check_writable(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise SeqtutorError(f"cannot write {path}: {error.strerror or error}; "
                            "free some space or choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> Path:
    """``path`` if a file can be put there; otherwise :class:`SeqtutorError` in one line. Ask before hours of work."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is not a file; name one that may be replaced")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise SeqtutorError(f"cannot write {path}: nothing may be written in {path.parent}; choose another place")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_readable(path: Path) -> Path:
    """``path`` if it is a file that can be opened; otherwise :class:`UsageError` saying what it is instead."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
