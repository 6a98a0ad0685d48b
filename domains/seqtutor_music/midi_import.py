"""From a MIDI song to a melody on the grid: picks the track, finds key and metre, quantises and says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from seqtutor.domain import SeqtutorError, UsageError, nearest
from seqtutor_music.keyfinding import find_key
from seqtutor_music.keys import Key, parse_key
from seqtutor_music.melody import Melody, Note, monophonic
from seqtutor_music.meter import Meter
from seqtutor_music.midi_bytes import DRUMS, Song, TimedNote, Track

MAX_STEPS = 40_000  # about an hour and a half at 120: longer is a damaged file
OFF_GRID = 0.1  # steps that a note may lie off before it is told
_MELODIC = ("melody", "lead", "vocal", "voice", "tune", "solo", "flute", "violin", "soprano")


@dataclass(frozen=True)
class Imported:
    """A melody out of a file and what a user should know about how it was got, one line each."""

    melody: Melody
    warnings: tuple[str, ...] = ()


def melody_of_song(song: Song, *, track: str | None = None, key: Key | None = None, meter: Meter | None = None,
                   title: str = "") -> Imported:
    """The melody of ``song``. ``track``: a number from 1 or a name; otherwise the likeliest track.

    Raises SeqtutorError when there are no notes, UsageError for a track that is none.
    """
    warnings = list(dict.fromkeys(song.warnings))
    chosen = pick_track(song.tracks, track)
    if track is None and sum(bool(t.notes) for t in song.tracks) > 1:
        number = [t for t in song.tracks if t.notes].index(chosen) + 1
        warnings.append(f"took track {number} ({chosen.name!r}) of {sum(bool(t.notes) for t in song.tracks)} "
                        "as the melody; --track takes another")
    tempo = 60e6 / song.tempos[0][1] if song.tempos else 120.0
    if len({tempo for _, tempo in song.tempos}) > 1 and not song.smpte:
        warnings.append("the tempo changes; beats, not seconds, are scored")
    per_step = song.ticks / (tempo / 60 * 4 if song.smpte else 4)
    notes, moved, furthest = quantise(chosen.notes, per_step)
    if moved:
        warnings.append(f"{moved} of {len(chosen.notes)} notes lay off the sixteenth grid, by up to "
                        f"{furthest:.2f} steps, and were moved to it")
    line = monophonic(notes)
    if len(line) < len(notes) or any(a.end > b.start for a, b in pairwise(notes)):
        warnings.append("notes sounded together; the highest of each were taken, each to the start of the next")
    if line[-1].end > MAX_STEPS:
        raise SeqtutorError(f"the melody lasts {line[-1].end / 4:.0f} quarter notes; at most {MAX_STEPS // 4} are read")
    meter = meter or find_meter(song, warnings)
    fifths = song.keys[0][1][0] if song.keys else None
    told = next((text[4:] for text in song.texts if text.startswith("key:")), None)
    if key is None and told:
        try:
            key = parse_key(told)
        except UsageError:
            told = None
    if key is None:
        key = find_key(line, fifths)
        warnings.append(f"took the key to be {key.name}; --key names another")
    upbeat = meter.steps - line[0].start if meter.steps // 2 < line[0].start < meter.steps else 0
    if upbeat:
        warnings.append("the first bar holds an upbeat only; bars are counted from the next")
        line = tuple(replace(n, start=n.start - meter.steps + upbeat) for n in line)
    return Imported(Melody(line, line[-1].end, meter, key, upbeat, min(max(tempo, 10.0), 500.0), title).padded(),
                    tuple(warnings))


def find_meter(song: Song, warnings: list[str]) -> Meter:
    """The song's first metre that fits the grid, 4/4 when it gives none."""
    fitting = [Meter(*value) for _, value in song.meters if 16 % value[1] == 0 and value[0] <= 32]
    if not fitting:
        warnings.append("the file gives no metre; took 4/4, --meter names another")
        return Meter(4, 4)
    if len(set(fitting)) > 1:
        warnings.append(f"the metre changes; bars are counted in {fitting[0].name}")
    return fitting[0]


def pick_track(tracks: Sequence[Track], wanted: str | None = None) -> Track:
    """The track called or numbered ``wanted`` (from 1, tracks with notes only), or the likeliest melody."""
    filled = [track for track in tracks if track.notes]
    if not filled:
        raise SeqtutorError("the file holds no notes")
    if wanted is None:
        return max(filled, key=_melodiousness)
    if wanted.strip().isdecimal():
        if not 1 <= int(wanted) <= len(filled):
            raise UsageError(f"there is no track {wanted}; the file has {len(filled)} with notes: {_listed(filled)}")
        return filled[int(wanted) - 1]
    for track in filled:
        if wanted.lower() in track.name.lower():
            return track
    raise nearest(wanted, [track.name for track in filled], "track")


def _listed(tracks: Sequence[Track]) -> str:
    shown = ", ".join(f"{i} {track.name}" for i, track in enumerate(tracks[:12], 1))
    return shown + (" …" if len(tracks) > 12 else "")


def _melodiousness(track: Track) -> float:
    """Higher for a part that is a line, high, named like a melody and not drums."""
    notes = track.notes[:2000]
    alone = sum(a.end <= b.start + (a.end - a.start) // 4 for a, b in pairwise(notes)) + 1
    pitch = sum(note.pitch for note in notes) / len(notes)
    named = any(word in track.name.lower() for word in _MELODIC)
    return (-10 * (track.channel == DRUMS) + 2 * named + 2 * alone / len(notes) + (pitch - 60) / 24
            + min(len(notes), 64) / 64)


def quantise(notes: Sequence[TimedNote], per_step: float) -> tuple[list[Note], int, float]:
    """(notes on the grid, how many were off it, the furthest in steps). ``per_step``: ticks a sixteenth."""
    found, moved, furthest = [], 0, 0.0
    for note in notes:
        start, end = note.start / per_step, note.end / per_step
        off = abs(start - round(start))
        if off > OFF_GRID:
            moved, furthest = moved + 1, max(furthest, off)
        begin = round(start)
        found.append(Note(note.pitch, begin, max(1, round(end) - begin)))
    return sorted(found, key=lambda n: (n.start, -n.pitch)), moved, furthest
