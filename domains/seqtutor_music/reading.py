"""Melodies out of the files that musicians have: MIDI, MusicXML, ABC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.files import check_readable
from seqtutor_music import midi_bytes, musicxml_reader
from seqtutor_music.abc_reader import read_tune
from seqtutor_music.corpus import abc_tunes
from seqtutor_music.gridding import melody_of
from seqtutor_music.keyfinding import find_key
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody
from seqtutor_music.meter import Meter
from seqtutor_music.midi_import import Imported, melody_of_song
from seqtutor_music.tune import Tune

MIDI, XML, ABC = (".mid", ".midi"), (".musicxml", ".xml", ".mxl"), (".abc",)
SUFFIXES = (*MIDI, *XML, *ABC)
LARGEST = 32 * 2**20  # bytes


def read_melodies(path: Path, *, track: str | None = None, key: Key | None = None, meter: Meter | None = None,
                  repeats: bool = True) -> list[Imported]:
    """Every melody of a file: each tune of ABC, one of MIDI and MusicXML. ``key`` and ``meter`` overrule the file's.

    Raises UsageError or SeqtutorError, in one line that begins with the file's name.
    """
    path = check_readable(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: not a kind of music file that is read ({', '.join(SUFFIXES)})")
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path}: {path.stat().st_size / 2**20:.0f} MB; at most {LARGEST // 2**20} are read")
    try:
        return parse(path.read_bytes(), path.suffix.lower(), path.stem, track=track, key=key, meter=meter,
                     repeats=repeats)
    except SeqtutorError as error:
        raise type(error)(f"{path}: {error}") from error


def parse(data: bytes, suffix: str, title: str = "", *, track: str | None = None, key: Key | None = None,
          meter: Meter | None = None, repeats: bool = True) -> list[Imported]:
    """The melodies in a file's bytes; ``suffix`` says which kind it is."""
    if suffix in MIDI:
        return [melody_of_song(midi_bytes.read(data), track=track, key=key, meter=meter, title=title)]
    if suffix in XML:
        tunes = [musicxml_reader.read(data, track)]
    else:
        texts = abc_tunes(data)
        if not texts:
            raise SeqtutorError("no ABC tune (one begins with X: and has a K: field)")
        tunes = [read_tune(text) for text in texts]
    return [_import(tune, title, key, meter, repeats) for tune in tunes]


def _import(tune: Tune, title: str, key: Key | None, meter: Meter | None, repeats: bool) -> Imported:
    warnings = []
    if meter:
        tune.meter = meter
    elif tune.meter is None:
        warnings.append("the file gives no metre that fits the grid; took 4/4, --meter names another")
    elif tune.meter_changes:
        warnings.append(f"the metre changes; bars are counted in {tune.meter.name}")
    gridded = melody_of(tune, repeats)
    if not gridded.exact:
        warnings.append("some notes (tuplets, grace figures) lay off the sixteenth grid and were moved to it")
    melody = gridded.melody
    if key or tune.key is None:
        key = key or find_key(melody.notes)
        melody = replace(melody, key=key)
        if tune.key is None:
            warnings.append(f"took the key to be {key.name}; --key names another")
    return Imported(replace(melody, title=melody.title or title).padded(), tuple(warnings))


def music_files(folder: Path) -> list[Path]:
    """The music files below ``folder``, sorted. Raises UsageError when there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UsageError(f"the folder {folder} holds no music file ({', '.join(SUFFIXES)})")
    return found


def melodies_of(paths: list[Path]) -> Iterator[tuple[Path, Melody | SeqtutorError]]:
    """The melodies of many files; a file that cannot be read gives its error and hides no other."""
    for path in paths:
        try:
            for imported in read_melodies(path, repeats=False):
                yield path, imported.melody
        except SeqtutorError as error:
            yield path, error
