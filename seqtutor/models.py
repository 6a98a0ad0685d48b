"""Names of models to verified files: ``$SEQTUTOR_MODELS`` first, then the installed package, then the checkout."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtutor.domain import UsageError, nearest

if TYPE_CHECKING:
    from seqtutor.model import SequenceModel

INDEX = "index.json"
RUN_MODEL = "model.safetensors"  # in the folder of a run


@dataclass(frozen=True)
class Entry:
    """One line of an index: a named model, its file and what is known of it."""

    name: str
    path: Path
    domain: str
    about: str
    bytes: int
    sha256: str
    figures: dict[str, Any]


def folders() -> list[Path]:
    """Where models are looked for, in this order; only those that exist."""
    here = Path(__file__).parent
    places = [Path(p) for p in os.environ.get("SEQTUTOR_MODELS", "").split(os.pathsep) if p]
    return [place for place in [*places, here / "pretrained", here.parent / "pretrained"] if place.is_dir()]


def entries() -> Iterator[Entry]:
    """Every model of every index; of two with one name the first stands."""
    seen = set()
    for folder in folders():
        index = folder / INDEX
        if not index.exists():
            continue
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            found = [Entry(name, folder / e["file"], e["domain"], e["about"], int(e["bytes"]), e["sha256"],
                           e.get("figures", {})) for name, e in content.items()]
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UsageError(f"the index of models {index} cannot be read: {error!r}") from error
        for entry in found:
            if entry.name not in seen:
                seen.add(entry.name)
                yield entry


def find_model(name: str) -> Path:
    """The file of the model called ``name`` (its size and sha256 checked), or ``name`` itself if it is a path; of the
    folder of a run, the model in it.

    Raises :class:`UsageError` in one line when there is none, or when the file is not the one the index names.
    """
    path = Path(name)
    path = path / RUN_MODEL if (path / RUN_MODEL).is_file() else path
    if Path(name).suffix == ".safetensors" or os.sep in name:
        return path
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return _verified(known[name])
    if path.exists():
        return path
    raise nearest(name, known, "model (and there is no such file)")


def load_model(name: str, domain: str | None = None) -> SequenceModel:
    """The model called ``name`` or in the file ``name``, in evaluation mode; checked to be one of ``domain``."""
    from seqtutor.model import SequenceModel
    return SequenceModel.load(find_model(name), domain)


def _verified(entry: Entry) -> Path:
    from seqtutor.corpus import file_sha256
    if not entry.path.exists():
        raise UsageError(f"the model {entry.name!r} is in the index, but its file {entry.path} is missing; "
                         "install seqtutor again")
    size = entry.path.stat().st_size
    if size != entry.bytes or file_sha256(entry.path) != entry.sha256:
        raise UsageError(f"{entry.path} is not the file that the index describes ({size:,} bytes, expected "
                         f"{entry.bytes:,}, or another sha256); install seqtutor again")
    return entry.path
