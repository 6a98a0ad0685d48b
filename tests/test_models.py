"""Names of models: which folder wins, what is refused, and that a broken index is told."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from seqtutor import models
from seqtutor.domain import UsageError
from seqtutor.model import SequenceModel


def shelf(folder: Path, model: SequenceModel, name: str = "small", **wrong: Any) -> Path:
    """A folder with one model and its index."""
    folder.mkdir()
    model.save(folder / "m.safetensors")
    content = (folder / "m.safetensors").read_bytes()
    entry = {"file": "m.safetensors", "domain": "peptides", "about": f"from {folder.name}", "bytes": len(content),
             "sha256": hashlib.sha256(content).hexdigest(), "figures": {"valid": 0.98}} | wrong
    (folder / "index.json").write_text(json.dumps({name: entry}))
    return folder


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets $SEQTUTOR_MODELS."""
    return lambda *folders: monkeypatch.setenv("SEQTUTOR_MODELS", os.pathsep.join(map(str, folders)))


def test_the_first_folder_wins(tiny_model: SequenceModel, tmp_path: Path, use: Any) -> None:
    a, b = shelf(tmp_path / "a", tiny_model), shelf(tmp_path / "b", tiny_model)
    other = shelf(tmp_path / "c", tiny_model, "other")
    use(a, tmp_path / "absent", b, other)
    assert models.find_model("small") == a / "m.safetensors"
    assert models.find_model("other") == other / "m.safetensors"
    assert [entry.about for entry in models.entries() if entry.domain == "peptides"] == ["from a", "from c"]
    use(b, a)
    assert models.find_model("small") == b / "m.safetensors"
    assert models.load_model("small", "peptides").provenance == tiny_model.provenance
    with pytest.raises(UsageError, match="not of 'molecules'"):
        models.load_model("small", "molecules")


def test_the_user_comes_before_the_package(tiny_model: SequenceModel, tmp_path: Path, use: Any,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    package, mine = tmp_path / "package", shelf(tmp_path / "mine", tiny_model)
    package.mkdir()
    shelf(package / "pretrained", tiny_model)
    monkeypatch.setattr(models, "__file__", str(package / "models.py"))
    assert models.find_model("small") == package / "pretrained" / "m.safetensors"
    use(mine)
    assert models.find_model("small") == mine / "m.safetensors"


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"bytes": 1}])
def test_another_file_than_the_index_says(tiny_model: SequenceModel, tmp_path: Path, use: Any,
                                          wrong: dict[str, Any]) -> None:
    use(shelf(tmp_path / "a", tiny_model, **wrong))
    with pytest.raises(UsageError, match=r"m\.safetensors is not the file that the index .* install seqtutor again"):
        models.find_model("small")


def test_a_byte_changed(tiny_model: SequenceModel, tmp_path: Path, use: Any) -> None:
    use(folder := shelf(tmp_path / "a", tiny_model))
    path = folder / "m.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match="or another sha256"):
        models.find_model("small")
    path.unlink()
    with pytest.raises(UsageError, match=r"is in the index, but its file .* is missing; install seqtutor again"):
        models.find_model("small")


def test_an_unknown_name_says_the_nearest(tiny_model: SequenceModel, tmp_path: Path, use: Any) -> None:
    use(shelf(tmp_path / "a", tiny_model))
    with pytest.raises(UsageError, match=r"unknown model \(and there is no such file\) 'smal'; did you mean 'small'\?"):
        models.find_model("smal")


def test_a_path_is_a_path(tiny_model: SequenceModel, tmp_path: Path, use: Any) -> None:
    path = tmp_path / "mine.safetensors"
    tiny_model.save(path)
    assert models.find_model(str(path)) == path
    with pytest.raises(UsageError, match=r"there is no file .*absent\.safetensors"):
        models.load_model(str(tmp_path / "absent.safetensors"))


@pytest.mark.parametrize("index", ["{", "[]", '{"small": 3}', '{"small": {"file": "a"}}', "\udcff",
                                   '{"small": {"file": "a", "domain": "b", "about": "", "bytes": "x", "sha256": ""}}'])
def test_a_broken_index_is_told_and_hides_no_file(tiny_model: SequenceModel, tmp_path: Path, use: Any,
                                                  index: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "index.json").write_bytes(index.encode(errors="surrogateescape"))
    use(folder)
    with pytest.raises(UsageError, match=r"the index of models .*index\.json cannot be read"):
        models.find_model("small")
    tiny_model.save(tmp_path / "mine.safetensors")
    assert models.load_model(str(tmp_path / "mine.safetensors"))


def test_the_command(tiny_model: SequenceModel, tmp_path: Path, use: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from seqtutor.cli import main
    use(shelf(tmp_path / "a", tiny_model))
    with pytest.raises(SystemExit) as stop:
        main(["models"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "small: from a (peptides, " in out
    assert "  valid: 0.98" in out
    with pytest.raises(SystemExit):
        main(["models", "--json"])
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["small"]["path"] == str(tmp_path / "a" / "m.safetensors")
