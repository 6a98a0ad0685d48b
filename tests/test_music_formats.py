"""Files for musicians, read back by other programs: mido, pretty_midi, music21, verovio, and our own readers."""

from __future__ import annotations

import io
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from random import Random

import mido
import pretty_midi
import pytest

from seqtutor.domain import UsageError
from seqtutor_music import abc_writer, audio, chords, engraving, humanize, midi, musicxml, page, pianoroll, rules
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.bars import VALUES, pieces_by_bar
from seqtutor_music.keys import MODES, parse_key
from seqtutor_music.melody import Melody
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import _from_names
from seqtutor_music.reading import parse
from seqtutor_music.tokens import METERS

PNG = b"\x89PNG\r\n\x1a\n"


def melody(meter: str = "4/4", key: str = "E minor", upbeat: int = 0, bars: int = 4) -> Melody:
    """Notes of all lengths with accidentals, rests, ties over bars, in any metre."""
    rng = Random(f"{meter} {key}")
    scale = parse_key(key).scale
    length = upbeat + bars * parse_meter(meter).steps
    words, now = [], 0
    while now < length:
        steps = min(rng.choice((1, 1, 2, 2, 2, 3, 4, 4, 6, 8, 5, 7)), length - now)
        pitch = 60 + rng.choice(scale) + rng.choice((0, 0, 0, 0, 0, 1))
        words.append(f"r:{steps}" if rng.random() < .1 and now else f"{pitch}:{steps}")
        now += steps
    from dataclasses import replace

    found = _from_names(" ".join(words), parse_key(key), parse_meter(meter))[0]
    return replace(found, upbeat=upbeat, tempo=96.0, title="A test", length=length)


def arrangement(m: Melody, with_chords: bool = True) -> Arrangement:
    return Arrangement(m, humanize.velocities(m, Random(0)), chords.accompany(m) if with_chords else (), 73, 48)


def line(m: Melody, lead: int = 0) -> list[tuple[int, int, int]]:
    """(pitch, start, length) in sixteenths."""
    return [(n.pitch, n.start + lead, n.duration) for n in m.notes]


# -- MIDI ------------------------------------------------------------------------------------------------------------

def test_midi_is_clean_by_mido() -> None:
    m = melody("6/8", "D dorian", upbeat=2)
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(arrangement(m))))
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (1, 480, 3)
    assert [track.name for track in file.tracks] == ["A test", "Melody", "Chords"]
    metas = {message.type: message for message in file.tracks[0]}
    assert (metas["time_signature"].numerator, metas["time_signature"].denominator) == (6, 8)
    assert metas["key_signature"].key == "C"
    assert mido.tempo2bpm(metas["set_tempo"].tempo) == pytest.approx(96)
    for track, channel in zip(file.tracks[1:], (0, 1), strict=True):
        sounding: set[int] = set()
        assert {message.channel for message in track if not message.is_meta} == {channel}
        for message in track:
            if message.type == "note_on":
                assert message.velocity > 0  # explicit note-offs
                assert message.note not in sounding
                sounding.add(message.note)
            elif message.type == "note_off":
                sounding.remove(message.note)
        assert not sounding
    for track in file.tracks:
        assert track[-1].type == "end_of_track"
        assert sum(message.time for message in track) % (12 * 120) == 0  # on a bar line
    assert midi.to_bytes(arrangement(m)) == midi.to_bytes(arrangement(m))


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("upbeat", [0, 2])
def test_midi_by_pretty_midi_and_by_our_reader(meter: str, upbeat: int) -> None:
    m = melody(meter, "Bb", upbeat)
    song = midi.to_pretty_midi(arrangement(m))
    lead = midi.lead_in(m)
    step = 60 / 96 / 4
    found = [(n.pitch, round(n.start / step), round((n.end - n.start) / step)) for n in song.instruments[0].notes]
    assert sorted(found, key=lambda n: n[1]) == line(m, lead)
    assert song.instruments[0].program == 73
    assert song.time_signature_changes[0].numerator == m.meter.beats
    (imported,) = parse(midi.to_bytes(arrangement(m)), ".mid", track="Melody")
    back = imported.melody
    assert [(p, s + lead - midi.lead_in(back), d) for p, s, d in line(m)] == [
        (p, s, d) for p, s, d in [(n.pitch, n.start + lead - midi.lead_in(back), n.duration) for n in m.notes]]
    assert [n.pitch for n in back.notes] == [n.pitch for n in m.notes]
    assert [n.duration for n in back.notes] == [n.duration for n in m.notes]
    assert (back.meter, back.key, back.tempo) == (m.meter, m.key, pytest.approx(96))


def test_pretty_midi_object() -> None:
    song = midi.to_pretty_midi(arrangement(melody()))
    assert isinstance(song, pretty_midi.PrettyMIDI)
    assert song.key_signature_changes[0].key_number == pretty_midi.key_name_to_key_number("E Minor")


@pytest.mark.parametrize(("text", "program"), [
    ("0", 0), ("73", 73), ("flute", 73), ("Acoustic Grand Piano", 0), ("violin", 40), ("ACCORDION", 21)])
def test_programs(text: str, program: int) -> None:
    assert midi.find_program(text) == program


def test_unknown_program_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Bagpipe"):
        midi.find_program("bagpype")
    with pytest.raises(UsageError, match="0 to 127"):
        midi.find_program("128")


# -- notation --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("meter", METERS)
def test_bars_are_full_and_of_writable_values(meter: str) -> None:
    m = melody(meter, "A", 0)
    for bar in pieces_by_bar(m):
        assert sum(piece.duration for piece in bar) == m.meter.steps
        assert all(piece.duration in VALUES for piece in bar)


@pytest.mark.parametrize("key", ["C", "F# minor", "Eb mixolydian", "B locrian", "D dorian", "E phrygian", "Ab lydian"])
@pytest.mark.parametrize("kind", ["abc", "musicxml"])
def test_notation_reads_back_to_the_same_notes(kind: str, key: str) -> None:
    for meter, upbeat in (("4/4", 0), ("6/8", 2), ("3/4", 4)):
        m = melody(meter, key, upbeat)
        text = abc_writer.abc_text([arrangement(m)]) if kind == "abc" else musicxml.musicxml_text(arrangement(m))
        (imported,) = parse(text.encode(), "." + kind)
        assert line(imported.melody) == line(m)
        assert (imported.melody.key, imported.melody.meter, imported.melody.upbeat) == (m.key, m.meter, upbeat)
        assert imported.melody.tempo == 96


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_format_brings_every_metre_and_mode_back(meter: str, mode: str) -> None:
    m = melody(meter, f"G {mode}", bars=3)
    a = arrangement(m)
    for suffix, content, track in ((".mid", midi.to_bytes(a), "Melody"),
                                   (".abc", abc_writer.abc_text([a]).encode(), None),
                                   (".musicxml", musicxml.musicxml_text(a).encode(), None)):
        (imported,) = parse(content, suffix, track=track)
        assert line(imported.melody) == line(m)
        back = imported.melody
        assert (back.meter, back.key, back.tempo) == (m.meter, m.key, pytest.approx(96))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["midi", "abc", "musicxml"])
def test_music21_reads_the_same_notes(kind: str, tmp_path: Path) -> None:
    music21 = pytest.importorskip("music21", reason="pip install 'seqtutor[corpora]'")
    for meter, key, upbeat in (("4/4", "E minor", 0), ("4/4", "D dorian", 4), ("6/8", "F lydian", 2),
                               ("3/4", "Bb mixolydian", 0), ("9/8", "E phrygian", 0), ("2/4", "B locrian", 2)):
        m = melody(meter, key, upbeat)
        a = arrangement(m, with_chords=kind == "midi")
        lead = midi.lead_in(m) if kind == "midi" else 0
        if kind == "midi":
            score = music21.midi.translate.midiStringToStream(midi.to_bytes(a)).parts[0]
        elif kind == "abc":
            text = "%abc-2.1\n" + abc_writer.abc_text([a])
            score = music21.converter.parseData(text, format="abc")
        else:
            score = music21.converter.parseData(musicxml.musicxml_text(a), format="musicxml")
        flat = score.flatten().stripTies() if kind == "midi" else score.stripTies().flatten()
        found = [(n.pitch.midi, n.offset * 4, n.quarterLength * 4) for n in flat.notes if n.isNote]
        assert found == [tuple(map(float, n)) for n in line(m, lead)]


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("kind", ["abc", "musicxml"])
def test_verovio_reads_the_same_notes(kind: str, meter: str) -> None:
    verovio = pytest.importorskip("verovio", reason="pip install 'seqtutor[sheet]'")
    verovio.enableLog(verovio.LOG_OFF)
    # a key with a signature: verovio 6.4.1 reads ABC without one with that of the tune it read before
    m = melody(meter, f"Bb {MODES[METERS.index(meter) % 7]}", 0)
    a = arrangement(m, with_chords=False)
    toolkit = verovio.toolkit()
    toolkit.loadData(abc_writer.abc_text([a]) if kind == "abc" else musicxml.musicxml_text(a))
    toolkit.renderToMIDI()
    import base64

    file = mido.MidiFile(file=io.BytesIO(base64.b64decode(toolkit.renderToMIDI())))
    now, begun, found = 0, {}, []
    for message in mido.merge_tracks(file.tracks):
        now += message.time
        if message.type == "note_on" and message.velocity:
            begun[message.note] = now
        elif message.type in ("note_on", "note_off") and message.note in begun:
            found.append((message.note, begun.pop(message.note) * 4 / file.ticks_per_beat,
                          now * 4 / file.ticks_per_beat))
    found.sort(key=lambda n: n[1])
    assert [(p, round(s), round(e - s)) for p, s, e in found] == line(m)


def test_several_tunes_in_one_abc() -> None:
    text = abc_writer.abc_text([arrangement(melody("4/4")), arrangement(melody("3/4"))])
    assert [found.melody.meter.name for found in parse(text.encode(), ".abc")] == ["4/4", "3/4"]


# -- chords, loudness ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_chords_are_diatonic_one_a_bar_and_fit(mode: str) -> None:
    m = melody("4/4", f"D {mode}", bars=8)
    found = chords.accompany(m)
    assert [chord.start for chord in found] == [bar * 16 for bar in range(8)]
    for chord in found:
        outside = [p for p in chord.pitches if m.key.degree(p) is None]
        assert not outside or (mode == "aeolian" and len(outside) == 1)  # the major dominant of minor keys
        assert max(chord.pitches) < 67


def test_chords_of_a_plain_tune() -> None:
    m = _from_names("C4:4 E4:4 G4:8 F4:4 A4:4 C5:8 G4:4 B4:4 D5:8 C5:16", parse_key("C"), parse_meter("4/4"))[0]
    assert [chord.symbol for chord in chords.accompany(m)] == ["C", "F", "G", "C"]


def test_minor_dominants_agree_with_the_melodys_seventh() -> None:
    def chord(bar: str) -> tuple[str, tuple[int, ...]]:
        names = "A4:8 C5:8 " + bar + "A4:16"
        found = chords.accompany(_from_names(names, parse_key("A minor"), parse_meter("4/4"))[0])[1]
        return found.symbol, tuple(p % 12 for p in found.pitches)

    assert chord("E4:8 B4:8 ") == ("E", (4, 8, 11))
    assert chord("E4:4 G#4:4 B4:8 ") == ("E", (4, 8, 11))
    assert chord("E4:8 G4:2 B4:6 ") == ("Em", (4, 7, 11))


def test_humanize_shades_by_accent() -> None:
    m = _from_names("C4 " * 64, parse_key("C"), parse_meter("4/4"))[0]
    loud = humanize.velocities(m, Random(1))
    assert loud == humanize.velocities(m, Random(1))
    assert loud != humanize.velocities(m, Random(2))
    assert all(1 <= v <= 127 for v in loud)
    assert sum(loud[0::8]) / 8 > sum(loud[1::2]) / 32 + 8


# -- sound, pictures, pages ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("make", [audio.wav_bytes, audio.ogg_bytes])
def test_sound_is_the_melody_and_dies_away(make: Callable[[Arrangement], bytes]) -> None:
    pytest.importorskip("soundfile", reason="pip install 'seqtutor[audio]'")
    pytest.importorskip("midirenderer", reason="pip install 'seqtutor[audio]'")
    import numpy as np
    import soundfile

    names = "A4:4 C5:4 E5:8 D5:4 B4:4 G4:8"
    m = _from_names(names, parse_key("A minor"), parse_meter("4/4"))[0]
    content = make(Arrangement(m))
    assert content == make(Arrangement(m))
    sound, rate = soundfile.read(io.BytesIO(content))
    assert rate == audio.RATE
    assert len(sound) / rate == pytest.approx(m.seconds + audio.RING, abs=.02)
    assert .8 < np.abs(sound).max() < .95  # loud, not clipped
    assert np.abs(sound[-rate // 200:]).max() < .003  # no click where it ends
    assert np.abs(sound[int(m.seconds * rate):]).max() > .01  # the last note is not cut
    for note in m.notes:  # each sounds at its pitch: the strongest partial near it is within a quarter of a semitone
        begin, end = (int(step * 60 / m.tempo / 4 * rate) for step in (note.start + .3, note.end))
        piece = sound[begin:end].mean(1) * np.hanning(end - begin)
        spectrum = np.abs(np.fft.rfft(piece, 1 << 17))
        tones = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(1 << 17, 1 / rate), 1) / 440)
        near = np.abs(tones - note.pitch) < 1.5
        assert tones[near][spectrum[near].argmax()] == pytest.approx(note.pitch, abs=.25)
        assert spectrum[near].max() > .2 * spectrum.max()


def test_plain_sound_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    with wave.open(io.BytesIO(audio.wav_bytes(arrangement(melody(bars=1))))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, audio.RATE)
        assert file.getnframes() / audio.RATE == pytest.approx(melody(bars=1).seconds + audio.RING, abs=.01)


@pytest.mark.parametrize(("module", "call", "extra"), [
    ("verovio", lambda a: engraving.svg(a), "sheet"), ("cairosvg", lambda a: engraving.png(a), "sheet"),
    ("matplotlib", lambda a: pianoroll.png(a.melody), "plots"), ("soundfile", lambda a: audio.ogg_bytes(a), "audio")])
def test_a_missing_extra_says_what_to_install(module: str, call: Callable[[Arrangement], object], extra: str,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'seqtutor\[{extra}\]'"):
        call(arrangement(melody(bars=1)))


def test_engraved_scores() -> None:
    pytest.importorskip("verovio", reason="pip install 'seqtutor[sheet]'")
    a = arrangement(melody(bars=2))
    drawn = engraving.svg(a, {0: "#c8452f"})
    assert all(f'id="n{i}"' in drawn for i in range(len(a.melody.notes)))
    assert "#c8452f" in drawn
    assert drawn == engraving.svg(a, {0: "#c8452f"})


def test_engraved_score_as_png() -> None:
    pytest.importorskip("verovio", reason="pip install 'seqtutor[sheet]'")
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"cairosvg or the cairo library is missing: {error}")
    image = engraving.png(arrangement(melody(bars=2)))
    assert image[:8] == PNG
    assert struct.unpack(">I", image[16:20])[0] == engraving.PNG_WIDTH


def test_piano_roll() -> None:
    m = melody(bars=2)
    image = pianoroll.png(m, rules.findings(m))
    assert image[:8] == PNG
    assert image != pianoroll.png(m)


@pytest.mark.parametrize("sheet", [True, False])
def test_pages_need_no_network(sheet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sheet:
        monkeypatch.setitem(sys.modules, "verovio", None)
    arrangements = [arrangement(melody(bars=2)), arrangement(melody("6/8", bars=2))]
    content = page.index(arrangements, "Two <melodies>", [["a.mid"], []], {"seed": 1})
    assert "Two &lt;melodies&gt;" in content
    assert 'href="a.mid"' in content
    assert all(f'id="m{k}-n0"' in content for k in (0, 1))
    for outside in ("src=", "<link", "@import", "fetch("):
        assert outside not in content
