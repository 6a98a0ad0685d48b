"""`seqtutor generate music`: what is asked for is what comes, in every form, from any model."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from seqtutor.domain import UsageError
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.vocabulary import Vocabulary
from seqtutor_music import DOMAIN, midi, tokens
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.keys import MODES, parse_key, parse_pitch
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import _from_names, as_names, read_primer
from seqtutor_music.reading import parse, read_melodies
from seqtutor_music.request import understand
from seqtutor_music.tokens import METERS

RIFF = "D4:2 F4:2 A4:4 r:2 G4:2 F4:2 E4:1 D4:1 C4:4"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: all that is right about its melodies is the grammar's doing."""
    torch.manual_seed(0)
    network = SequenceModel(Vocabulary(DOMAIN.tokens), "music", ModelConfig(width=24, embedding=8), {"seed": 0})
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    network.save(path)
    return path


def generate(model: Path, line: str, *more: object) -> Result:
    from seqtutor.cli.generate import command

    words = ["music", "--model", str(model), "--quiet", *shlex.split(line), *map(str, more)]
    return CliRunner().invoke(command, words)


def failure(model: Path, line: str, *more: object) -> str:
    """The one line of an error of wrong use."""
    found = generate(model, line, *more)
    assert isinstance(found.exception, UsageError), (found.exception, found.output)
    assert "\n" not in str(found.exception)
    return str(found.exception)


def test_the_example_of_the_readme(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    found = generate(model, '--key "D dorian" --meter 6/8 --bars 16 -n 2 --seed 7 -o', folder)
    assert found.exit_code == 0, found.exception
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["D-dorian_6-8_120bpm_seed7_01.mid", "D-dorian_6-8_120bpm_seed7_02.mid", "index.html",
                     "recipe.json"]
    for name in names[:2]:
        melody = read_melodies(folder / name)[0].melody
        assert (melody.key, melody.meter.name, melody.length) == (parse_key("D dorian"), "6/8", 16 * 12)


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_metre_and_mode(model: Path, tmp_path: Path, meter: str, mode: str) -> None:
    line = f"-n 1 --key Eb --mode {mode} --meter {meter} --bars 3 --seed 1 -o"
    found = generate(model, line, tmp_path / "a.musicxml")
    assert found.exit_code == 0, found.exception
    melody = read_melodies(tmp_path / "a.musicxml")[0].melody
    assert (melody.meter.name, melody.key.mode, melody.bars, melody.key.pitch_class) == (meter, mode, 3, 3)


def test_a_recipe_repeats_the_run_byte_for_byte(model: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    generate(model, '-n 2 --key "E minor" --meter 3/4 --bars 4 --tempo 90 --program flute --humanize --chords '
                    f'--strict .2 --range C4-G5 --temperature .9 --seed 3 --format midi,abc,html --primer "{RIFF}" '
                    "--upbeat 0 -o", first)
    assert generate(model, "--recipe", first / "recipe.json", "-o", again).exit_code == 0
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert len(names) == 6
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.parametrize("given", ["mid", "abc", "musicxml", "names"])
def test_a_primer_is_continued_not_counted_and_nothing_of_it_lost(model: Path, tmp_path: Path, given: str) -> None:
    from seqtutor_music import abc_writer, musicxml

    riff = _from_names(RIFF, parse_key("D minor"), parse_meter("4/4"))[0]
    a = Arrangement(riff)
    primer = RIFF
    if given != "names":
        path = tmp_path / f"riff.{given}"
        path.write_bytes({"mid": midi.to_bytes, "abc": lambda x: abc_writer.abc_text([x]).encode(),
                          "musicxml": lambda x: musicxml.musicxml_text(x).encode()}[given](a))
        primer = str(path)
    found = generate(model, f'-n 1 --seed 5 --bars 3 --key "D minor" --primer "{primer}" -o', tmp_path / "out.musicxml")
    assert found.exit_code == 0, found.exception
    melody = read_melodies(tmp_path / "out.musicxml")[0].melody
    assert melody.bars == 2 + 3  # the riff begins its second bar
    assert melody.notes[:len(riff.notes) - 1] == riff.notes[:-1]
    last = melody.notes[len(riff.notes) - 1]
    assert (last.pitch, last.start) == (riff.notes[-1].pitch, riff.notes[-1].start)
    assert last.duration >= riff.notes[-1].duration


def test_abc_text_as_a_primer() -> None:
    primer = read_primer("M:6/8\nL:1/8\nK:Edor\nB|EFG AGF|")
    assert (primer.melody.key.name, primer.melody.upbeat, primer.bars) == ("E dorian", 2, 1)
    assert primer.prefix(2).startswith("6/8 dorian ^2 A4 - | 3 dorian D4 - E4 - F4 -")


def test_note_names_round_trip() -> None:
    melody = read_primer(RIFF).melody
    assert read_primer(as_names(melody)).melody.notes == melody.notes


def test_range_is_kept(model: Path, tmp_path: Path) -> None:
    found = generate(model, "-n 3 --seed 2 --bars 4 --key A --range A3-E5 -o", tmp_path / "a.abc")
    assert found.exit_code == 0, found.exception
    for imported in read_melodies(tmp_path / "a.abc"):
        assert all(parse_pitch("A3") <= n.pitch <= parse_pitch("E5") for n in imported.melody.notes)


def test_every_format(model: Path, tmp_path: Path) -> None:
    for module in ("soundfile", "verovio", "matplotlib"):
        pytest.importorskip(module, reason="pip install 'seqtutor[audio,sheet,plots]'")
    found = generate(model, "-n 1 --bars 2 --seed 1 --chords --format midi,musicxml,abc,wav,ogg,png,svg,html -o",
                     tmp_path / "all")
    assert found.exit_code == 0, found.exception
    assert sorted(p.suffix for p in (tmp_path / "all").iterdir()) == sorted(
        [".mid", ".musicxml", ".abc", ".wav", ".ogg", ".png", ".svg", ".html", ".json"])
    assert all(path.stat().st_size > 100 for path in (tmp_path / "all").iterdir())
    again = generate(model, "--recipe", tmp_path / "all" / "recipe.json", "-o", tmp_path / "again")
    assert again.exit_code == 0, again.exception
    for path in (tmp_path / "all").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    page = (tmp_path / "all" / "index.html").read_text()
    assert "C-major_4-4_120bpm_seed1_01.mid" in page
    assert "chords" in page


def test_single_files_and_several_outputs(model: Path, tmp_path: Path) -> None:
    found = generate(model, "-n 2 --bars 2 --seed 1 -o", tmp_path / "a.mid", "-o", tmp_path / "b.abc", "-o",
                     tmp_path / "c.csv")
    assert found.exit_code == 0, found.exception
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_01.mid", "a_02.mid", "b.abc", "c.csv"]
    assert (tmp_path / "c.csv").read_text().count("\n") == 3


def test_strict_chooses_what_breaks_fewer_rules(model: Path) -> None:
    from seqtutor_music import rules

    request = understand({"strict": 1.0, "bars": 4}, 0)
    assert request.surplus == 16
    from seqtutor.generate import generate as draw
    from seqtutor.sampling import SamplingConfig

    texts = draw(DOMAIN, SequenceModel.load(model, "music"), 32, sampling=SamplingConfig(max_length=request.max_length),
                 options=vars(request.form)).texts
    chosen = request.choose(texts, 4)
    assert [t for t in texts if t in chosen] == chosen
    kept, every = (rules.penalties([tokens.parse(t) for t in some]).mean() for some in (chosen, texts))
    assert kept < every


def test_chords_and_program_in_the_midi(model: Path, tmp_path: Path) -> None:
    import mido

    generate(model, "-n 1 --bars 4 --seed 1 --chords --program violin --tempo 77 -o", tmp_path / "a.mid")
    file = mido.MidiFile(tmp_path / "a.mid")
    assert [track.name for track in file.tracks][1:] == ["Melody", "Chords"]
    assert next(m.program for m in file.tracks[1] if m.type == "program_change") == 40
    assert next(mido.tempo2bpm(m.tempo) for m in file.tracks[0] if m.type == "set_tempo") == pytest.approx(77, abs=.01)


@pytest.mark.parametrize(("program", "key", "shift"), [
    ("piano", "C", 0), ("flute", "C", 12), ("73", "E minor", 7), ("cello", "G", -17), ("contrabass", "D dorian", -24)])
def test_an_instrument_plays_in_its_octave(program: str, key: str, shift: int) -> None:
    request = understand({"program": program, "key": key}, 0)
    assert request.shift == shift
    assert understand({**request.recipe(), "format": None}, 0).shift == shift
    ranged = understand({"program": program, "key": key, "range": "C4-B5"}, 0)
    assert (ranged.low + ranged.shift, ranged.high + ranged.shift) == (60, 83)


@pytest.mark.parametrize(("line", "words"), [
    ("--key H", "not a key"), ("--key 'D blues'", "unknown mode"), ("--mode blues", "unknown mode"),
    ("--key 'D minor' --mode dorian", "different modes"), ("--meter 7/8", "7/8 is not one of"),
    ("--meter x", "not a metre"), ("--bars 65", "--bars must be from 1 to 64"), ("--bars 0", "--bars must be"),
    ("--tempo 5", "--tempo must be"), ("--strict 2", "--strict must be"), ("--program kazoo9", "unknown instrument"),
    ("--range C4", "not a range"), ("--range C5-C4", "not below"), ("--range C4-D4", "at least 5"),
    ("--upbeat 16", "upbeat of 16"), ("--format midi,mp4 -o x/", "unknown format 'mp4'"),
    ("--primer 'H9'", "neither"), ("--primer nowhere.mid", "no file nowhere.mid"), ("--primer 'C1 C8'", "runs from"),
    ("--primer C4 --range C5-C6", "outside --range"), ("--primer 'C4:999'", "sixteenths from 1 to 256")])
def test_bad_input_is_one_line_before_any_work(model: Path, line: str, words: str) -> None:
    message = failure(model, line)
    assert words in message or (words == "neither" and "H9" in message), message


def test_bad_outputs(model: Path, tmp_path: Path) -> None:
    assert "does not exist" in failure(model, "-n 1 -o", tmp_path / "no" / "a.mid")
    assert "file suffix" in failure(model, "-n 1 -o", tmp_path / "a.mod")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "module"), [("ogg", "soundfile"), ("svg", "verovio"), ("png", "matplotlib")])
def test_a_missing_extra_is_told_before_any_work(model: Path, tmp_path: Path, name: str, module: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'seqtutor[" in failure(model, f"-n 1 --format midi,{name} -o", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_recipe(model: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("[1]")
    assert "not a recipe" in failure(model, "--recipe", tmp_path / "recipe.json")


def test_recipe_names_everything(model: Path, tmp_path: Path) -> None:
    generate(model, "-n 1 --bars 2 --seed 9 -o", tmp_path / "a")
    said: dict[str, Any] = json.loads((tmp_path / "a" / "recipe.json").read_text())
    assert {"seed", "key", "meter", "bars", "tempo", "program", "model_sha256", "seqtutor", "temperature"} <= set(said)


def test_unreadable_primers_in_memory() -> None:
    with pytest.raises(UsageError):
        read_primer("")
    assert parse(b"X:1\nK:C\nC|\n", ".abc")[0].melody.bars == 1
