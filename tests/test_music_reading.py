"""Users' files: odd, damaged and random ones; `seqtutor score music`."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import mido
import pytest
from click.testing import CliRunner, Result

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor_music import abc_writer, midi, musicxml
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.keyfinding import find_key
from seqtutor_music.keys import MODES, key_of, parse_key
from seqtutor_music.melody import Note
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import _from_names
from seqtutor_music.reading import parse, read_melodies
from seqtutor_music.review import review
from seqtutor_music.score_command import command

TUNE = "E4:2 G4:2 B4:4 A4:2 G4:2 F#4:4 G4:3 A4:1 B4:4 E4:8 D5:4 B4:4 A4:4 G4:4 F#4:4 D#4:4 E4:8"


def arrangement(names: str = TUNE, key: str = "E minor", meter: str = "4/4") -> Arrangement:
    return Arrangement(_from_names(names, parse_key(key), parse_meter(meter))[0].padded())


def midi_file(build: Callable[[mido.MidiFile], None], ticks: int = 480, kind: int = 1) -> bytes:
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    build(file)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def add_track(file: mido.MidiFile, notes: list[tuple[int, int, int]], name: str = "", channel: int = 0) -> None:
    """``notes``: (pitch, start, end) in ticks."""
    events = [(end, 2 if end == start else 0, mido.Message("note_off", note=p, channel=channel))
              for p, start, end in notes]
    events += [(start, 1, mido.Message("note_on", note=p, velocity=80, channel=channel)) for p, start, _ in notes]
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)] if name else [])
    now = 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    file.tracks.append(track)


SCALE = [(60 + p, i * 480, (i + 1) * 480) for i, p in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]


# -- odd but honest files --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ticks", [24, 96, 220, 480, 960, 10080])
def test_odd_resolutions(ticks: int) -> None:
    notes = [(p, s * ticks // 480, e * ticks // 480) for p, s, e in SCALE]
    (found,) = parse(midi_file(lambda f: add_track(f, notes), ticks), ".mid")
    assert [(n.pitch, n.start, n.duration) for n in found.melody.notes] == [(p, s // 120, 4) for p, s, _ in SCALE]
    assert not any("grid" in warning for warning in found.warnings)


def test_smpte_time() -> None:
    data = bytearray(midi_file(lambda f: add_track(f, SCALE)))
    data[12:14] = bytes([256 - 25, 40])  # 25 frames of 40 ticks: 1000 ticks a second; 480 ticks are .48 s
    (found,) = parse(bytes(data), ".mid")
    assert [n.pitch for n in found.melody.notes] == [p for p, _, _ in SCALE]
    assert found.melody.notes[-1].end == pytest.approx(8 * .48 * 8, abs=1)


def test_running_status_and_note_on_with_velocity_zero() -> None:
    body = bytes([0, 0x90, 60, 80, 0x60, 60, 0, 0, 64, 80, 0x60, 64, 0, 0, 0xFF, 0x2F, 0])
    data = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 0, 96]) + b"MTrk" + len(body).to_bytes(4, "big") + body
    (found,) = parse(data, ".mid")
    assert [(n.pitch, n.start, n.duration) for n in found.melody.notes] == [(60, 0, 4), (64, 4, 4)]


def test_quantising_warns_and_says_how_far() -> None:
    notes = [(p, s + 40, e) for p, s, e in SCALE[:4]] + SCALE[4:]
    (found,) = parse(midi_file(lambda f: add_track(f, notes)), ".mid")
    assert any("4 of 8 notes lay off the sixteenth grid, by up to 0.33 steps" in w for w in found.warnings)


def test_thirty_tracks_and_choosing_one() -> None:
    def build(file: mido.MidiFile) -> None:
        for i in range(30):
            add_track(file, [(36 + i, s, e) for _, s, e in SCALE], f"part {i}", channel=9 if i == 29 else i % 9)
        add_track(file, SCALE, "Lead melody")

    data = midi_file(build)
    (found,) = parse(data, ".mid")
    assert found.melody.notes[0].pitch == 60
    assert any("took track 31 ('Lead melody') of 31" in warning for warning in found.warnings)
    assert parse(data, ".mid", track="3")[0].melody.notes[0].pitch == 38
    assert parse(data, ".mid", track="part 7")[0].melody.notes[0].pitch == 43
    with pytest.raises(UsageError, match="there is no track 99; the file has 31 with notes"):
        parse(data, ".mid", track="99")
    with pytest.raises(UsageError, match="did you mean"):
        parse(data, ".mid", track="lead melodi")


def test_overlapping_and_zero_length_notes() -> None:
    notes = [(60, 0, 960), (64, 480, 960), (67, 480, 960), (65, 960, 960), (72, 1440, 1920)]
    (found,) = parse(midi_file(lambda f: add_track(f, notes)), ".mid")
    assert [(n.pitch, n.start, n.duration) for n in found.melody.notes] == [(60, 0, 4), (67, 4, 4), (72, 12, 4)]
    assert any("sounded together" in warning for warning in found.warnings)
    assert any("no length" in warning for warning in found.warnings)


def test_tempo_and_metre_changes_are_told() -> None:
    def build(file: mido.MidiFile) -> None:
        file.tracks.append(mido.MidiTrack([
            mido.MetaMessage("set_tempo", tempo=500_000),
            mido.MetaMessage("time_signature", numerator=3, denominator=4),
            mido.MetaMessage("set_tempo", tempo=400_000, time=480),
            mido.MetaMessage("time_signature", numerator=4, denominator=4, time=960)]))
        add_track(file, SCALE)

    (found,) = parse(midi_file(build), ".mid")
    assert found.melody.meter.name == "3/4"
    assert any("tempo changes" in warning for warning in found.warnings)
    assert any("metre changes" in warning for warning in found.warnings)


def test_upbeat_of_a_midi_file() -> None:
    notes = [(67, 1440, 1920), *[(p, s + 1920, e + 1920) for p, s, e in SCALE]]
    (found,) = parse(midi_file(lambda f: add_track(f, notes)), ".mid")
    assert found.melody.upbeat == 4
    assert [found.melody.bar(n.start) for n in found.melody.notes] == [0, 1, 1, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("mode", MODES)
def test_keys_are_found(mode: str) -> None:
    key = key_of(7, mode)
    tonic = 67
    degrees = [0, 2, 4, 2, 3, 1, 6, 0, 4, 3, 2, 1, 5, 6, 1, 0, 2, 4, 0]
    notes = [Note(tonic + (key.scale[d] - 7) % 12, 2 * i, 2) for i, d in enumerate(degrees)]
    assert find_key(notes).pitch_class == 7
    assert find_key(notes).fifths == key.fifths


def test_mxl_is_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", musicxml.musicxml_text(arrangement()))
    (found,) = parse(buffer.getvalue(), ".mxl")
    assert found.melody.notes == arrangement().melody.notes


# -- what is none ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("suffix", "data", "words"), [
    (".mid", b"", "no MThd"), (".mid", b"RIFFxxxx", "no MThd"),
    (".mid", b"MThd\0\0\0\6\0\1\0\0\1\xe0", "without tracks"),
    (".mid", b"MThd\0\0\0\6\0\1\0\1\0\0MTrk", "no resolution"),
    (".mid", midi_file(lambda f: add_track(f, [])), "no notes"),
    (".xml", b"", "not MusicXML"), (".xml", b"<a/>", "no part"), (".mxl", b"PK\3\4nonsense", "damaged"),
    (".xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entities"),
    (".xml", b"<score-timewise/>", "timewise"), (".abc", b"", "no ABC tune"), (".abc", b"X:1\nK:C\nz8|\n", "no notes"),
    (".abc", b"\xff\xfe\0\0", "no ABC tune")])
def test_files_that_are_none_say_so_in_one_line(suffix: str, data: bytes, words: str) -> None:
    with pytest.raises(SeqtutorError, match=words) as caught:
        parse(data, suffix)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_gives_what_there_is() -> None:
    data = midi.to_bytes(arrangement())
    (found,) = parse(data[:len(data) - 40], ".mid")
    assert 5 < len(found.melody.notes) < len(arrangement().melody.notes)
    assert any("cut off" in warning for warning in found.warnings)


def test_endless_numbers_and_times_are_refused() -> None:
    body = b"\xff\xff\xff\x7f" + bytes([0x90, 60, 80]) + b"\xff\xff\xff\x7f" + bytes([0x80, 60, 0])
    data = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 0, 1]) + b"MTrk" + len(body).to_bytes(4, "big") + body
    with pytest.raises(SeqtutorError, match="at most"):
        parse(data, ".mid")


def test_wrong_suffix_and_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="not a kind of music file"):
        read_melodies(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="is a folder"):
        read_melodies(tmp_path)


def sources() -> list[tuple[str, bytes]]:
    a, b = arrangement(), arrangement("C4:2 D4:4 E4:6 G4:12", "C", "6/8")
    return [(".mid", midi.to_bytes(a)), (".mid", midi.to_bytes(b)), (".abc", abc_writer.abc_text([a, b]).encode()),
            (".abc", b'X:1\nM:C|\nL:1/8\nK:Gmix\n|:(3ABc d>e "D7"[DF]2-|1 {ga}D4:|2 ^F,,4 z2||\n'),
            (".musicxml", musicxml.musicxml_text(a).encode()), (".xml", musicxml.musicxml_text(b).encode())]


def mutate(data: bytes, rng: Random) -> bytes:
    """One to eight small damages: bytes changed, cut out, doubled, inserted."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at:at + rng.randint(1, 30)]
        elif kind == 3:
            out[at:at] = out[at:at + rng.randint(1, 200)] * rng.randint(1, 4)
        elif kind == 4:
            out[at:at] = rng.choice([b"\xff" * 8, b"9999999999", b"\0" * 6, b"|:" * 9, b"(9" * 5, b"<note>", b"[1",
                                     b"&lt;"])
        else:
            out = out[:max(at, 1)]
        if not out:
            break
    return bytes(out)


def fuzz(count: int, seed: int) -> float:
    """Reads and judges ``count`` damaged files; returns the slowest in seconds. Only SeqtutorError may come out."""
    rng = Random(seed)
    files = sources()
    slowest = 0.0
    for _ in range(count):
        suffix, data = rng.choice(files)
        damaged = mutate(data, rng)
        started, lines = time.monotonic(), 0
        try:
            for found in parse(damaged, suffix, "fuzz"):
                review(found.melody).as_text()
        except SeqtutorError as error:
            lines = str(error).count("\n")
        assert lines == 0
        slowest = max(slowest, time.monotonic() - started)
    return slowest


@pytest.mark.parametrize("suffix", [".mid", ".abc", ".musicxml", ".mxl"])
def test_random_bytes_are_refused_in_one_line_or_read(suffix: str) -> None:
    rng = Random(3)
    heads = {".mid": b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\1\0", ".abc": b"X:1\nK:C\n", ".mxl": b"PK\3\4"}
    for i in range(200):
        data = (heads.get(suffix, b"<score-partwise>") if i % 2 else b"") + rng.randbytes(rng.randrange(400))
        said = ""
        try:
            parse(data, suffix, "random")
        except SeqtutorError as error:
            said = str(error)
        assert "\n" not in said


def test_damaged_files_never_crash() -> None:
    assert fuzz(200, 1) < 5


@pytest.mark.slow
def test_two_thousand_damaged_files() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fuzz(2000, 2) < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kilobytes


# -- seqtutor score music --------------------------------------------------------------------------------------------

def score(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def riff(tmp_path: Path) -> Path:
    path = tmp_path / "riff.mid"
    path.write_bytes(midi.to_bytes(arrangement("C4:4 F#4:4 E4:4 D4:4 B3:8 C4:8", "C")))
    return path


def test_score_tells_rules_and_findings_by_bar(riff: Path) -> None:
    found = score(riff)
    assert found.exit_code == 0
    assert "C major, 4/4, 2 bars, 6 notes; quality" in found.stdout
    assert "forbidden-leap" in found.stdout
    assert "bar 1, beat 2: a tritone up to F#4 is hard to sing" in found.stdout
    assert "human range" in found.stdout


def test_score_json(riff: Path) -> None:
    (found,) = json.loads(score(riff, "--json", "--quiet").stdout)
    assert (found["key"], found["meter"], found["bars"]) == ("C major", "4/4", 2)
    rules = {rule["rule"]: rule for rule in found["rules"]}
    assert rules["ends-on-tonic"]["value"] == 1
    assert 0 < rules["ends-on-tonic"]["human_mean"] < 1
    assert any(f["rule"] == "in-key" and f["notes"] == ["F#4"] for f in found["findings"])


def test_score_takes_key_and_metre(riff: Path) -> None:
    assert "G major, 3/4" in score(riff, "--key", "G", "--meter", "3/4").stdout


@pytest.mark.parametrize(("words", "said"), [
    (("--key", "H"), "not a key"), (("--meter", "4/5"), "not a metre"), (("--track", "9"), "no track 9")])
def test_score_refuses_what_is_none(riff: Path, words: tuple[str, str], said: str) -> None:
    found = score(riff, *words)
    assert isinstance(found.exception, UsageError)
    assert said in str(found.exception)


def test_fail_under_exits_3(riff: Path) -> None:
    assert score(riff, "--fail-under", "0.1").exit_code == 0
    found = score(riff, "--fail-under", "0.999")
    assert found.exit_code == 3
    assert "below --fail-under" in found.stderr


def test_score_a_folder_goes_on_after_a_broken_file(riff: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mid").write_bytes(b"nonsense")
    (tmp_path / "two.abc").write_text(abc_writer.abc_text([arrangement(), arrangement()]))
    found = score(tmp_path, "--json")
    assert len(json.loads(found.stdout)) == 3
    assert "bad.mid: not a MIDI file" in found.stderr
    assert isinstance(found.exception, SeqtutorError)
    assert "1 of 3 files could not be read" in str(found.exception)


def test_score_html(riff: Path, tmp_path: Path) -> None:
    target = tmp_path / "riff.html"
    assert score(riff, "--html", target).exit_code == 0
    content = target.read_text()
    assert "data-play" in content
    assert "forbidden-leap" in content
    assert "#c8452f" in content
    assert isinstance(score(riff, "--html", tmp_path / "no" / "a.html").exception, UsageError)
    assert isinstance(score(riff, riff, "--html", target).exception, UsageError)


def test_a_four_minute_tune_takes_under_a_second(tmp_path: Path) -> None:
    path = tmp_path / "long.mid"
    path.write_bytes(midi.to_bytes(arrangement(" ".join([TUNE] * 30))))  # 30 × 4 bars at 120: four minutes
    score(path)
    started = time.process_time()
    assert score(path).exit_code == 0
    assert time.process_time() - started < 1


def test_the_command_line_finds_the_domains_own_score(riff: Path, cli: Callable[..., subprocess.CompletedProcess[str]],
                                                      ) -> None:
    found = cli("score", "music", riff, "--fail-under", "0.999")
    assert found.returncode == 3
    assert "bar 1, beat 2" in found.stdout
    found = cli("score", "music", riff.parent / "nowhere.mid")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1
    assert "there is no file" in found.stderr
