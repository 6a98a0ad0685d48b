"""The music domain keeps the contract, and its corpora are what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from seqtutor.conformance import check_domain
from seqtutor.corpus import prepare
from seqtutor.domain import SeqtutorError, UsageError
from seqtutor_music import DOMAIN, abc_writer, corpus, midi, musicxml, tokens
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.keys import parse_key
from seqtutor_music.melody import Melody
from seqtutor_music.meter import parse_meter
from seqtutor_music.primer import _from_names

HAS_MUSIC21 = importlib.util.find_spec("music21") is not None


def melody(names: str = "C4 D4 E4 F4 G4:4 C4:4", key: str = "C") -> Melody:
    return _from_names(names, parse_key(key), parse_meter("4/4"))[0]


def test_the_domain_keeps_its_promises() -> None:
    texts = [tokens.write(melody(key=key)) for key in ("C", "A minor", "D dorian")]
    check_domain(DOMAIN, texts, ["4/4 ionian", "no melody at all"])


def test_importing_the_domain_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, seqtutor_music; sys.exit('torch' in sys.modules or 'music21' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_is_a_corpus(tmp_path: Path) -> None:
    sources = ["C4 D4 E4 F4 G4:4 C4:4", "E4 D4 C4 D4 E4 E4 E4:4", "G4 F4 E4 D4 C4:8", "C4 E4 G4 E4 F4 D4 C4:4"]
    a, b, c, d = (Arrangement(melody(names)) for names in sources)
    (tmp_path / "a.mid").write_bytes(midi.to_bytes(a))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.musicxml").write_text(musicxml.musicxml_text(b))
    (tmp_path / "c.abc").write_text(abc_writer.abc_text([c, d]))
    (tmp_path / "bad.mid").write_bytes(b"nonsense")
    (tmp_path / "notes.txt").write_text("no music")
    prepared = prepare(DOMAIN, DOMAIN.corpus(str(tmp_path)), heldout=0)
    assert sorted(prepared.train) == sorted(tokens.write(x.melody) for x in (a, b, c, d))
    assert prepared.manifest["left_out"] == 1


def test_single_files_are_corpora(tmp_path: Path) -> None:
    a = Arrangement(melody())
    (tmp_path / "a.abc").write_text(abc_writer.abc_text([a]))
    (tmp_path / "a.txt").write_text(tokens.write(a.melody) + "\nnonsense\n")
    for name in ("a.abc", "a.txt"):
        assert prepare(DOMAIN, DOMAIN.corpus(str(tmp_path / name)), heldout=0).train == [tokens.write(a.melody)]


def test_a_folder_without_music_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no music file"):
        prepare(DOMAIN, DOMAIN.corpus(str(tmp_path)))


def test_old_prints_without_music21_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEQTUTOR_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'seqtutor\[corpora\]'"):
        corpus.old_prints_path()


@pytest.mark.skipif(not HAS_MUSIC21, reason="music21 is not installed; pip install 'seqtutor[corpora]'")
def test_a_changed_book_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(corpus.BOOKS, "miscFolk", "0" * 64)
    with pytest.raises(SeqtutorError, match="expected 000000000000"):
        corpus.read_book("miscFolk")


def test_the_readmes_python() -> None:
    from seqtutor_music import review

    text = tokens.write(melody("C4:4 F#4:4 E4:4 D4:4 B3:8 C4:8"))
    found = DOMAIN.melody(text)
    song = midi.to_pretty_midi(Arrangement(found))
    assert [note.pitch - song.instruments[0].notes[0].pitch for note in song.instruments[0].notes] == [
        0, 6, 4, 2, -1, 0]
    assert "hard to sing" in review.review(found).as_text()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_MUSIC21, reason="music21 is not installed; pip install 'seqtutor[corpora]'")
def test_old_prints() -> None:
    prepared = prepare(DOMAIN, corpus.OLD_PRINTS)
    texts = [*prepared.train, *prepared.heldout]
    # 2,906 tunes and 216 recast into rare modes. The facts count 3,109 on the grid: those whose metre changes or whose
    # bar lines do not stand where full bars put them have no place in the stream.
    assert len(texts) == 3122
    assert len(prepared.heldout) == 158  # 150 of them as printed: the card's held-out tunes
    melodies = [tokens.parse(text) for text in texts]
    assert sum(m.length for m in melodies) == 654_208
    inside = [m.key.degree(n.pitch) is not None for m in melodies for n in m.notes]
    assert sum(inside) / len(inside) == pytest.approx(.99, abs=.005)
    keys = DOMAIN.split_keys(texts)
    assert not set(keys[:len(prepared.train)]) & set(keys[len(prepared.train):])
