"""The bytes of standard MIDI files as timed notes. Damaged files give what can be read and a warning, or one error.

Written here because the libraries at hand raise a dozen kinds of exception on damaged files and take unbounded time
over some; this reader takes time and memory in proportion to the file. Standard MIDI Files 1.0, MMA 1996.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from seqtutor.domain import SeqtutorError

_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
LARGEST = 16 * 2**20  # bytes
DRUMS = 9


@dataclass(frozen=True)
class TimedNote:
    """``start``, ``end`` in ticks (start < end), ``velocity`` 1…127."""

    pitch: int
    start: int
    end: int
    velocity: int


@dataclass
class Track:
    """One channel of one track, as listeners take it: a part. ``program``: General MIDI's number, 0…127."""

    name: str
    channel: int
    program: int = 0
    notes: list[TimedNote] = field(default_factory=list)


@dataclass
class Song:
    """``ticks``: a quarter note in ticks, or a second when ``smpte``.

    ``tempos``, ``meters``, ``keys``: (tick, value) in order: microseconds a quarter, (beats, unit), (fifths, minor).
    ``texts``: text events of the first track.
    """

    ticks: int = 480
    smpte: bool = False
    tracks: list[Track] = field(default_factory=list)
    tempos: list[tuple[int, int]] = field(default_factory=list)
    meters: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    keys: list[tuple[int, tuple[int, bool]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Damaged(Exception):
    """The track ends in the middle of an event or holds what cannot be one."""


def read(data: bytes) -> Song:
    """The song in a MIDI file's bytes. Raises SeqtutorError when they are none."""
    if len(data) > LARGEST:
        raise SeqtutorError(f"a MIDI file of {len(data) / 2**20:.0f} MB; at most {LARGEST // 2**20} are read")
    at = data.find(b"MThd", 0, 1024)  # some files come in a RIFF wrapper
    if at < 0 or len(data) < at + 14:
        raise SeqtutorError("not a MIDI file (no MThd header)")
    division = int.from_bytes(data[at + 12:at + 14], "big")
    song = Song()
    if division & 0x8000:
        frames = {24: 24, 25: 25, 29: 30, 30: 30}.get(256 - (division >> 8), 0)
        song.smpte, song.ticks = True, frames * (division & 0xFF)
    else:
        song.ticks = division
    if song.ticks == 0:
        raise SeqtutorError("a MIDI file whose header gives no resolution")
    at += 8 + max(6, int.from_bytes(data[at + 4:at + 8], "big") if data[at + 4] == 0 else 6)
    number = 0
    while (at := data.find(b"MTrk", at)) >= 0:
        length = int.from_bytes(data[at + 4:at + 8], "big")
        end = min(at + 8 + length, len(data))
        if at + 8 + length > len(data):
            song.warnings.append("the file is cut off; what could be read of it was taken")
        _read_track(song, data[at + 8:end], number)
        number += 1
        at = end
    for events in (song.tempos, song.meters, song.keys):
        events.sort(key=lambda event: event[0])
    if number == 0:
        raise SeqtutorError("a MIDI file without tracks")
    return song


def _read_track(song: Song, data: bytes, number: int) -> None:
    parts: dict[int, Track] = {}
    sounding: dict[tuple[int, int], list[tuple[int, int]]] = {}
    name = [""]
    state = [0, 0, 0]  # place, tick, running status
    try:
        while state[0] < len(data):
            if not _event(song, data, state, parts, sounding, name, number):
                break
    except _Damaged:
        song.warnings.append(f"track {number} is damaged after tick {state[1]}; what came before was taken")
    for (channel, pitch), begun in sounding.items():
        for start, velocity in begun:
            if state[1] > start:
                parts[channel].notes.append(TimedNote(pitch, start, state[1], velocity))
    for part in parts.values():
        part.name = name[0] or part.name
        part.notes.sort(key=lambda n: (n.start, n.pitch))
        song.tracks.append(part)


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """(value, next place) of a variable-length number of at most four bytes."""
    value = 0
    for i in range(at, at + 4):
        if i >= len(data):
            raise _Damaged
        value = value << 7 | data[i] & 0x7F
        if data[i] < 0x80:
            return value, i + 1
    raise _Damaged


def _event(song: Song, data: bytes, state: list[int], parts: dict[int, Track],
           sounding: dict[tuple[int, int], list[tuple[int, int]]], name: list[str], number: int) -> bool:
    """Reads one event; false at the end of the track."""
    delta, at = _variable(data, state[0])
    state[1] += delta
    if at >= len(data):
        raise _Damaged
    status = data[at]
    if status >= 0xF0:
        if status == 0xFF:
            kind, at = data[at + 1] if at + 1 < len(data) else 0x2F, at + 2
            length, at = _variable(data, at)
        elif status in (0xF0, 0xF7):
            kind = -1
            length, at = _variable(data, at + 1)
        else:
            raise _Damaged
        if at + length > len(data):
            raise _Damaged
        _meta(song, kind, data[at:at + length], state[1], name, number)
        state[0] = at + length
        return kind != 0x2F
    if status >= 0x80:
        state[2], at = status, at + 1
    if not state[2]:
        raise _Damaged
    kind, channel = state[2] & 0xF0, state[2] & 0x0F
    values = data[at:at + _DATA[kind]]
    if len(values) < _DATA[kind] or max(values) > 127:
        raise _Damaged
    state[0] = at + _DATA[kind]
    part = parts.setdefault(channel, Track(f"track {number}", channel))
    if kind == 0xC0:
        part.program = values[0]
    elif kind in (0x80, 0x90):
        waiting = sounding.setdefault((channel, values[0]), [])
        if kind == 0x90 and values[1]:
            waiting.append((state[1], values[1]))
        elif waiting:
            start, velocity = waiting.pop(0)
            if state[1] > start:
                part.notes.append(TimedNote(values[0], start, state[1], velocity))
            else:
                song.warnings.append("notes of no length were left out")
    return True


def _meta(song: Song, kind: int, value: bytes, tick: int, name: list[str], number: int) -> None:
    if kind == 0x03 and not name[0]:
        name[0] = value[:80].decode("utf-8", "replace").strip()
    elif kind == 0x01 and number == 0:
        song.texts.append(value[:200].decode("utf-8", "replace"))
    elif kind == 0x51 and len(value) == 3 and any(value):
        song.tempos.append((tick, int.from_bytes(value, "big")))
    elif kind == 0x58 and len(value) >= 2 and value[0] and value[1] <= 4:
        song.meters.append((tick, (value[0], 2 ** value[1])))
    elif kind == 0x59 and len(value) >= 2:
        fifths = value[0] - 256 if value[0] > 127 else value[0]
        if abs(fifths) <= 7:
            song.keys.append((tick, (fifths, bool(value[1] & 1))))
