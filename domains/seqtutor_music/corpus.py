"""The corpora: four old tune books out of an installed music21, and any folder of the user's own files."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from seqtutor.corpus import cache_folder
from seqtutor.domain import Corpus, SeqtutorError, UsageError
from seqtutor.files import atomic
from seqtutor_music import tokens
from seqtutor_music.abc_reader import read_tune
from seqtutor_music.gridding import melody_of
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody

#: folder in music21's corpus → sha256 of its ABC files, sorted by path and joined
BOOKS = {
    "oneills1850": "c45fbfa139a40a00dd465badff3f99dc9177877d00cb7cb7b696e9cdf4fd942e",
    "ryansMammoth": "3ea75e2db64cdbb5c57a0953097c13646ba9a670d3d1cdfc0d6a91f2fe7f50fc",
    "airdsAirs": "bb7b8af608f400e9af30e9b27931ac8d5f48d01bd0457c65407f6f4cd03024d2",
    "miscFolk": "a1c672c52f5391f3a8d67b97e0c8c14583e81d64768a129d61982c9bcab51982",
}
MUSIC21 = "music21==10.5.1"
LICENCE = ("18th- and 19th-century prints; transcriptions by Jack Campin (Aird), John Chambers and others (O'Neill, "
           "Ryan), distributed with music21 by their makers' permission; read from there, never copied")
VERSION = "3"  # of everything that standardise depends on
ALIGNED = 0.8  # of a tune's bar lines must stand where full bars put them
RECAST = "%%recast "
#: modes that the books hardly use, each learnt from tunes in the mode whose scale is nearest, moved step by step
RARE_MODES = {"lydian": "ionian", "phrygian": "aeolian", "locrian": "aeolian"}
RECAST_EVERY = {"ionian": 16, "aeolian": 3}


def old_prints_path() -> Path:
    """All tunes of :data:`BOOKS` in one file of the cache. Raises UsageError with the pip command without music21."""
    made = cache_folder() / "corpora" / f"old-prints-{hashlib.sha256(repr(BOOKS).encode()).hexdigest()[:12]}.abc"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        content = b"\n\n".join(data for book in BOOKS for data in read_book(book))
        with atomic(made) as temporary:
            temporary.write_bytes(content)
    return made


def read_book(book: str) -> list[bytes]:
    """The ABC files of one book, sorted by path, checked against the known sha256. music21 itself is not imported."""
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise UsageError("the corpus 'old-prints' is read from the music21 package, which is not installed; run: "
                         "pip install 'seqtutor[corpora]'")
    files = sorted((Path(spec.origin).parent / "corpus" / book).rglob("*.abc"))
    contents = [path.read_bytes() for path in files]
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    if digest != BOOKS[book]:
        raise SeqtutorError(f"the book {book} of the installed music21 has sha256 {digest[:12]}…, expected "
                            f"{BOOKS[book][:12]}…; run: pip install '{MUSIC21}'")
    return contents


def read_abc(path: Path) -> Iterator[str]:
    """The ABC text of each tune in a file; then again, marked, the tunes that teach the rare modes."""
    recast: list[str] = []
    for tune in abc_tunes(path.read_bytes()):
        yield tune
        recast += [f"{RECAST}{mode}\n{tune}" for mode, source in RARE_MODES.items()
                   if int(hashlib.sha256((mode + tune).encode()).hexdigest(), 16) % RECAST_EVERY[source] == 0]
    yield from recast


def abc_tunes(content: bytes) -> list[str]:
    """The text of each tune in an ABC file."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    parts = ("\n" + text.replace("\r\n", "\n").replace("\r", "\n")).split("\nX:")
    return ["X:" + part for part in parts[1:] if "\nK:" in part]


def standardise(raw: str) -> str | None:
    """One tune of a corpus as a stream of tokens; None when it does not lie on the grid or in the grammar."""
    mode = ""
    if raw.startswith(RECAST):
        first, raw = raw.split("\n", 1)
        mode = first.removeprefix(RECAST)
    try:
        if not raw.startswith("X:"):
            tokens.parse(raw)
            return raw
        tune = read_tune(raw)
        gridded = melody_of(tune, repeats=False)
        if not gridded.exact or gridded.aligned < ALIGNED or tune.meter_changes or tune.meter is None:
            return None
        melody = shortened(gridded.melody)
        if not mode:
            return tokens.write(melody)
        return tokens.write(recast(melody, mode)) if melody.key.mode == RARE_MODES[mode] else None
    except SeqtutorError:
        return None


def read_user_file(path: Path) -> Iterator[str]:
    """The streams or tunes of a user's file: ABC tune by tune, MIDI and MusicXML as streams, else one stream a line."""
    from seqtutor_music.reading import ABC, SUFFIXES, melodies_of

    suffix = path.suffix.lower()
    if suffix in ABC:
        yield from abc_tunes(path.read_bytes())
    elif suffix in SUFFIXES:
        for _, melody in melodies_of([path]):
            if isinstance(melody, SeqtutorError):
                raise melody
            yield stream_of(melody)
    else:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from (line.strip() for line in file if line.strip())


def stream_of(melody: Melody) -> str:
    """``melody`` as a stream, or what is wrong with it, which :func:`standardise` leaves out and counts."""
    try:
        return tokens.write(shortened(melody))
    except UsageError as error:
        return f"? {error}"


def folder_corpus(folder: Path) -> Corpus:
    """All MIDI, MusicXML and ABC below ``folder`` as a corpus; prepared into one file of the cache."""
    return Corpus(folder.name, f"the music files in {folder.name}", "the user's own", lambda: _gather(folder),
                  lambda path: iter(path.read_text(encoding="utf-8").splitlines()))


def _gather(folder: Path) -> Path:
    from seqtutor_music.reading import melodies_of, music_files

    paths = music_files(folder)
    digest = hashlib.sha256(VERSION.encode())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    made = cache_folder() / "corpora" / f"folder-{digest.hexdigest()[:16]}.txt"
    if not made.exists():
        lines = [f"? {found}" if isinstance(found, SeqtutorError) else stream_of(found)
                 for _, found in melodies_of(paths)]
        made.parent.mkdir(parents=True, exist_ok=True)
        with atomic(made) as temporary:
            temporary.write_text("".join(" ".join(line.split()) + "\n" for line in lines), encoding="utf-8")
    return made


def shortened(melody: Melody) -> Melody:
    """``melody`` without the silence it ends in and cut to the bars that a stream holds."""
    length = min(melody.notes[-1].end, melody.upbeat + tokens.MAX_BARS * melody.meter.steps)
    return replace(melody, notes=tuple(n for n in melody.notes if n.end <= length), length=length)


def recast(melody: Melody, mode: str) -> Melody:
    """A diatonic melody with each scale degree as it is in ``mode``. Raises UsageError for one with chromatic notes."""
    key = Key(melody.key.tonic, mode)
    notes = []
    for note in melody.notes:
        degree = melody.key.degree(note.pitch)
        if degree is None:
            raise UsageError("a melody with chromatic notes cannot change its mode")
        shift = (key.scale[degree - 1] - melody.key.scale[degree - 1] + 6) % 12 - 6
        notes.append(replace(note, pitch=note.pitch + shift))
    return replace(melody, notes=tuple(notes), key=key)


OLD_PRINTS = Corpus("old-prints", "4,433 tunes of Aird, O'Neill, Ryan and others, 1782–1906", LICENCE,
                    old_prints_path, read_abc)
