"""Writes what was asked for: single files by suffix, or a folder with one file a melody and format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtutor.domain import SeqtutorError, Table, UsageError, nearest
from seqtutor.files import atomic
from seqtutor_music import abc_writer, audio, engraving, midi, musicxml, page, pianoroll, rules
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.extras import need
from seqtutor_music.request import MusicRequest

#: format → (suffix, what makes the file's bytes)
MAKERS: Mapping[str, tuple[str, Callable[[Arrangement], bytes]]] = {
    "midi": (".mid", midi.to_bytes),
    "musicxml": (".musicxml", lambda a: musicxml.musicxml_text(a).encode()),
    "abc": (".abc", lambda a: abc_writer.abc_text([a]).encode()),
    "wav": (".wav", audio.wav_bytes),
    "ogg": (".ogg", audio.ogg_bytes),
    "png": (".png", lambda a: pianoroll.png(a.melody, rules.findings(a.melody))),
    "svg": (".svg", lambda a: engraving.svg(a).encode()),
}
SUFFIXES = {**{suffix: name for name, (suffix, _) in MAKERS.items()}, ".midi": "midi", ".xml": "musicxml",
            ".html": "html", ".score.png": "score"}
CORE = (".csv", ".json", ".csv.gz", ".json.gz")  # suffixes that the core writes itself
#: format → (module, extra, what it is) that must be there before any work
NEEDS = {"ogg": ("soundfile", "audio", "OGG"), "png": ("matplotlib", "plots", "a piano roll"),
         "svg": ("verovio", "sheet", "an engraved score"), "score": ("cairosvg", "sheet", "a score as PNG")}


def is_folder(path: Path) -> bool:
    """Whether ``path`` names a folder: it is one, ends in a slash, or has no suffix."""
    return path.is_dir() or path.suffix == ""


def format_of(path: Path) -> str:
    """The format that a file's name asks for. Raises UsageError with the nearest suffix."""
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return SUFFIXES[suffix]
    raise nearest(path.suffix, [*SUFFIXES, ".csv", ".json"], "file suffix")


def check(request: MusicRequest, outputs: Sequence[Path]) -> None:
    """Raises at once what would otherwise be raised after the work."""
    outputs = [path for path in outputs if not path.name.lower().endswith(CORE)]
    names = [name for path in outputs for name in (request.formats if is_folder(path) else (format_of(path),))]
    for name in names:
        if name in NEEDS:
            need(*NEEDS[name])
    for path in outputs:
        if path.is_dir() and path.suffix and not is_folder(path):
            raise UsageError(f"cannot write {path}: it is a folder")
        if not path.parent.is_dir():
            raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")


def deliver(request: MusicRequest, table: Table, outputs: Sequence[Path], recipe: Mapping[str, Any]) -> list[Path]:
    """Writes ``table`` to every one of ``outputs`` that is not the core's to write; returns what was written."""
    arrangements = [request.arrangement(text, i) for i, text in enumerate(table.texts, 1)]
    written: list[Path] = []
    for path in outputs:
        if path.name.lower().endswith(CORE):
            continue
        if is_folder(path):
            written += _folder(request, arrangements, path, recipe)
        else:
            written += _file(arrangements, path)
    return written


def _folder(request: MusicRequest, arrangements: Sequence[Arrangement], folder: Path,
            recipe: Mapping[str, Any]) -> list[Path]:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SeqtutorError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    written, links = [], []
    for number, arrangement in enumerate(arrangements, 1):
        names = []
        for name in request.formats:
            if name in MAKERS:
                suffix, make = MAKERS[name]
                written.append(_write(folder / (request.stem(number) + suffix), make(arrangement)))
                names.append(written[-1].name)
        links.append(names)
    written.append(_write(folder / "recipe.json", (json.dumps(recipe, indent=2) + "\n").encode()))
    if "html" in request.formats:
        title = f"{len(arrangements)} melodies in {request.key.name}, {request.meter.name}"
        content = page.index(arrangements, title, links, recipe)
        written.append(_write(folder / "index.html", content.encode()))
    return written


def _file(arrangements: Sequence[Arrangement], path: Path) -> list[Path]:
    """One file: all melodies in it where the format can hold them, else numbered files."""
    name = format_of(path)
    if name == "abc":
        return [_write(path, abc_writer.abc_text(arrangements).encode())]
    if name == "html":
        return [_write(path, page.index(arrangements, path.stem, [[] for _ in arrangements], {}).encode())]
    make = engraving.png if name == "score" else MAKERS[name][1]
    if len(arrangements) == 1:
        return [_write(path, make(arrangements[0]))]
    suffix = ".score.png" if name == "score" else path.suffix
    bare = path.name[:-len(suffix)]
    return [_write(path.with_name(f"{bare}_{i:02d}{suffix}"), make(a)) for i, a in enumerate(arrangements, 1)]


def _write(path: Path, content: bytes) -> Path:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    return path
