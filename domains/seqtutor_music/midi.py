"""MIDI files that a sequencer opens without surprises: format 1, 480 ticks, names, signatures, clean note-offs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from seqtutor.domain import nearest
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody

if TYPE_CHECKING:
    import mido
    import pretty_midi

TICKS = 480  # a quarter note
STEP = TICKS // 4
CHORD_VELOCITY = 58
_MAJOR = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR = ("Abm", "Ebm", "Bbm", "Fm", "Cm", "Gm", "Dm", "Am", "Em", "Bm", "F#m", "C#m", "G#m", "D#m", "A#m")


def signature_name(key: Key) -> str:
    """The key signature as MIDI files have it: the minor key for aeolian, else the major key with those accidentals."""
    return (_MINOR if key.mode == "aeolian" else _MAJOR)[key.fifths + 7]


def lead_in(melody: Melody) -> int:
    """Steps of silence before step 0, so that bar lines fall where a sequencer draws them."""
    return melody.meter.steps - melody.upbeat if melody.upbeat else 0


def to_mido(arrangement: Arrangement, ring: int = 0) -> mido.MidiFile:
    """The file as a mido object: a conductor track, the melody on channel 1, chords on channel 2.

    It ends on a bar line, ``ring`` ticks later where the last note is to die away.
    """
    import mido

    melody = arrangement.melody.padded()
    end = (lead_in(melody) + melody.length) * STEP + ring
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS, charset="utf-8")
    conductor = [
        (0, mido.MetaMessage("track_name", name=melody.title or "seqtutor")),
        (0, mido.MetaMessage("text", text=f"key: {melody.key.name}")),
        (0, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(melody.tempo))),
        (0, mido.MetaMessage("time_signature", numerator=melody.meter.beats, denominator=melody.meter.unit,
                             clocks_per_click=min(255, melody.meter.beat_steps * 6))),
        (0, mido.MetaMessage("key_signature", key=signature_name(melody.key))),
    ]
    file.tracks.append(_track(conductor, end))
    first = lead_in(melody)
    notes = [((note.start + first) * STEP, (note.end + first) * STEP, note.pitch, arrangement.velocity(i))
             for i, note in enumerate(melody.notes)]
    file.tracks.append(_track(_part("Melody", 0, arrangement.program, notes), end))
    if arrangement.chords:
        notes = [((chord.start + first) * STEP, (chord.start + chord.duration + first) * STEP, pitch, CHORD_VELOCITY)
                 for chord in arrangement.chords for pitch in chord.pitches]
        file.tracks.append(_track(_part("Chords", 1, arrangement.chord_program, notes), end))
    return file


def _part(name: str, channel: int, program: int, notes: list[tuple[int, int, int, int]],
          ) -> list[tuple[int, mido.Message | mido.MetaMessage]]:
    import mido

    events = [(0, mido.MetaMessage("track_name", name=name)),
              (0, mido.Message("program_change", channel=channel, program=program))]
    timed = [(stop, 0, mido.Message("note_off", channel=channel, note=pitch, velocity=0))
             for _, stop, pitch, _ in notes]
    timed += [(start, 1, mido.Message("note_on", channel=channel, note=pitch, velocity=velocity))
              for start, _, pitch, velocity in notes]
    timed.sort(key=lambda event: (event[0], event[1], event[2].note))
    return events + [(tick, message) for tick, _, message in timed]


def _track(events: list[tuple[int, mido.Message | mido.MetaMessage]], end: int) -> mido.MidiTrack:
    import mido

    track, now = mido.MidiTrack(), 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track


def to_bytes(arrangement: Arrangement, ring: int = 0) -> bytes:
    """The MIDI file's content; the same arrangement gives the same bytes. ``ring``: see :func:`to_mido`."""
    buffer = io.BytesIO()
    to_mido(arrangement, ring).save(file=buffer)
    return buffer.getvalue()


def to_pretty_midi(arrangement: Arrangement) -> pretty_midi.PrettyMIDI:
    """The same as a PrettyMIDI object, times in seconds."""
    import pretty_midi

    return pretty_midi.PrettyMIDI(io.BytesIO(to_bytes(arrangement)))


def write(arrangement: Arrangement, path: Path) -> None:
    """Writes the MIDI file to ``path``."""
    path.write_bytes(to_bytes(arrangement))


def find_program(text: str) -> int:
    """General MIDI's program number (0…127) for a number or a name such as "flute" or "Acoustic Grand Piano".

    Raises UsageError with the nearest name.
    """
    from pretty_midi.constants import INSTRUMENT_MAP

    if text.strip().isdecimal() and int(text) <= 127:
        return int(text)
    wanted = _plain(text)
    names = [_plain(name) for name in INSTRUMENT_MAP]
    if wanted in names:
        return names.index(wanted)
    holding = [i for i, name in enumerate(names) if wanted and wanted in name]
    if holding:
        return min(holding, key=lambda i: (len(names[i]), i))
    raise nearest(text, INSTRUMENT_MAP, "instrument (or give its number, 0 to 127)")


def program_name(program: int) -> str:
    """General MIDI's name of a program, 0…127."""
    from pretty_midi.constants import INSTRUMENT_MAP

    return str(INSTRUMENT_MAP[program])


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
