"""`seqtutor compare`: the figures, the three formats, and one line for whatever is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from seqtutor.cli import main
from seqtutor.comparison import Profile, as_data, as_text, compare, figure, statistics
from seqtutor.comparison_page import edges, histogram, page
from seqtutor.known import KnownTexts
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.models import find_model
from seqtutor.vocabulary import Vocabulary

PEPTIDES = str(Path(__file__).parent.parent / "examples" / "peptide_domain.py")


@pytest.fixture
def files(tiny_model, tmp_path):
    """The tiny model, and one that likes K: {"a": file, "b": file in the folder of a run}."""
    (tmp_path / "run").mkdir()
    tiny_model.save(tmp_path / "a.safetensors")
    with torch.no_grad():
        tiny_model.head.bias[tiny_model.vocabulary.all.index("K")] += 3
    tiny_model.save(tmp_path / "run" / "model.safetensors")
    return {"a": tmp_path / "a.safetensors", "b": tmp_path / "run" / "model.safetensors"}


def run(capsys, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


# -- figures --------------------------------------------------------------------------------------------------------


def test_profiles(peptides, files):
    KnownTexts.of(["A"]).save(files["a"])
    a, b = compare(peptides, PEPTIDES, files, ["gravy", "charge"], n=200, seed=5)
    assert a.nats["kl"] == a.nats["kl sampled"] == (0, 0)
    assert b.nats["kl"][0] > 1
    assert abs(b.nats["kl"][0] - b.nats["kl sampled"][0]) < 5 * b.nats["kl sampled"][1]
    assert b.rules["charge"].mean() > a.rules["charge"].mean() + 1
    assert len(a.rules["gravy"]) == round(a.shares["valid"] * 200)  # an empty text is not valid
    assert 0 < a.shares["novel"] <= 1
    assert b.shares["novel"] is not None  # by the first model's list
    assert a.shares["diversity"] is None  # peptides do not say
    again = compare(peptides, PEPTIDES, files, ["gravy", "charge"], n=200, seed=5)[1]
    assert again.nats == b.nats
    np.testing.assert_array_equal(again.rules["gravy"], b.rules["gravy"])


def test_no_list_of_known_texts_no_novelty(peptides, files):
    assert all(p.shares["novel"] is None for p in compare(peptides, PEPTIDES, files, ["charge"], n=50))


def test_models_of_two_vocabularies_have_no_kl(peptides, files, tmp_path, capsys):
    torch.manual_seed(1)
    path = tmp_path / "few.safetensors"
    SequenceModel(Vocabulary("ACDK"), peptides.name, ModelConfig(width=8, embedding=4)).save(path)
    code, out, err = run(capsys, PEPTIDES, files["a"], path, "-n", 20)
    assert code == 0
    assert "different vocabularies, so there is no KL" in err
    kl = next(row for row in csv.DictReader(io.StringIO(out)) if row["figure"] == "kl")
    assert (kl[str(files["a"])], kl[str(path)]) == ("0", "")


def test_statistics_and_errors():
    values = np.random.default_rng(0).normal(3, 2, 1001)
    found = statistics(values)
    ordered = sorted(values.tolist())
    assert [found["5%"], found["50%"], found["95%"]] == pytest.approx([ordered[50], ordered[500], ordered[950]])
    assert (found["mean"], found["sd"]) == pytest.approx((3, 2), abs=.15)
    assert figure(values) == pytest.approx((values.mean(), 2 / 1001 ** .5), rel=.05)
    assert np.isnan(list(statistics(values[:0]).values())).all()


def test_diversity_of_molecules():
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator
    from rdkit.DataStructs import TanimotoSimilarity

    from seqtutor_molecules import DOMAIN
    texts = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "not one"]
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [maker.GetFingerprint(Chem.MolFromSmiles(text)) for text in texts[:3]]
    similar = [TanimotoSimilarity(x, y) for x in prints for y in prints]
    assert DOMAIN.diversity(texts) == pytest.approx(1 - sum(similar) / 9, abs=1e-12)
    assert DOMAIN.diversity(["not one"]) is None
    assert DOMAIN.diversity(["CCO", "CCO"]) == 0


def test_what_is_given_of_a_melody():
    from seqtutor_music import DOMAIN
    for text, given in (("4/4 ionian | 2 ionian C4 - | 1 ionian", 5), ("6/8 dorian ^2 A4 - | 1 dorian", 3),
                        ("6/8 dorian ^2 . -", 3), ("4/4 ionian", 2), ("", 0)):
        assert DOMAIN.given(DOMAIN.split(text)) == given


# -- formats --------------------------------------------------------------------------------------------------------


def test_csv_and_json_hold_the_same(files, tmp_path, capsys):
    code, out, err = run(capsys, PEPTIDES, files["a"], files["b"].parent, "-n", 100, "--threads", 1)
    assert (code, err) == (0, "")
    text, rows = out, list(csv.DictReader(io.StringIO(out)))
    a, b = str(files["a"]), str(files["b"].parent)
    assert list(rows[0]) == ["figure", "statistic", a, b]
    assert [row["statistic"] for row in rows if row["figure"] == "gravy"] == ["mean", "sd", "5%", "50%", "95%"]
    found = {(row["figure"], row["statistic"]): row for row in rows}
    assert found["kl", "nats"][a] == "0"
    assert float(found["kl", "nats"][b]) > 1
    assert found["diversity", "index"][a] == ""
    code, out, _ = run(capsys, PEPTIDES, a, b, "-n", 100, "--json")
    assert [(row["figure"], row["statistic"]) for row in json.loads(out)] == list(found)
    assert json.loads(out)[0][a] == pytest.approx(float(rows[0][a]))
    code, out, err = run(capsys, PEPTIDES, a, b, "-n", 100, "-o", tmp_path / "x.csv", "-o", tmp_path / "x.json")
    assert (code, out) == (0, "")
    assert "wrote" in err
    assert (tmp_path / "x.csv").read_text() == text
    assert len(json.loads((tmp_path / "x.json").read_text())) == len(rows)


def test_a_model_and_itself(files, capsys):
    code, out, _ = run(capsys, PEPTIDES, files["a"], files["a"], "-n", 50)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    for row in rows:
        assert row[str(files["a"])] == row[f"{files['a']} again"]
    assert next(row for row in rows if row["figure"] == "kl")[f"{files['a']} again"] == "0"


def test_prior_is_the_domains_own(capsys):
    code, out, _ = run(capsys, "molecules", "prior", "molecules", "-n", 10, "--rules", "qed", "--seed", 1)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) > 5
    for row in rows:
        assert row["prior"] == row["molecules"]


def test_the_terminal_sees_one_line_a_rule():
    shares = ({"valid": 1.0, "novel": None, "diversity": None}, {"valid": .5, "novel": .25, "diversity": None})
    a = Profile("a", 9, shares[0], {"kl": (0.0, 0.0)}, (5.0, .1), {"r": np.array([1.0, 2, 4])})
    b = Profile("b", 9, shares[1], {"kl": (1.5, .25)}, (6.0, .1), {"r": np.array([])})
    assert as_text([a, b]).columns == {
        "figure": ["valid", "novel", "KL, nats", "length, tokens", "r"],
        "a": ["100.0%", "", "0.00 ± 0.00", "5.00 ± 0.10", "2.33 ± 1.25  (1.10  2.00  3.80)"],
        "b": ["50.0%", "25.0%", "1.50 ± 0.25", "6.00 ± 0.10", ""]}
    assert len(as_data([a, b]).texts) == 3 + 2 + 2 + 5


def test_the_page_stands_alone(peptides, files, tmp_path, capsys):
    code, _, _ = run(capsys, PEPTIDES, files["a"], files["b"], "-n", 100, "-o", tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert code == 0
    assert not re.search(r"<script|https?://|src=|url\(", text)
    assert text.count("<svg") == 2
    assert "net charge at pH 7" in text
    nasty = '<b onclick="x">&'
    a = Profile("a", 9, {"valid": 1.0}, {"kl": (0.0, 0.0)}, (5.0, .1), {"gravy": np.array([1.0, 2, 4])})
    b = Profile(nasty, 9, {"valid": None}, {"kl": (0.0, 0.0)}, (5.0, .1), {"gravy": np.array([])})
    out = page(peptides, [a, b], 0)
    assert "<b" not in out.replace("<body>", "")
    assert out.count("&lt;b onclick=&quot;x&quot;&gt;&amp;") == 4  # title, heading, head of the column, histogram


def test_histograms_hold_every_value():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=1000), rng.integers(0, 6, 1000).astype(float), np.full(5, 2.5), np.array([7.0])):
        bins = edges(values)
        assert np.histogram(np.clip(values, bins[0], bins[-1]), bins)[0].sum() == len(values)
    assert edges(np.array([0.0, 1, 3])).tolist() == [-.5, .5, 1.5, 2.5, 3.5]
    picture = ElementTree.fromstring(histogram([np.array([0.0, 0, 3]), np.array([])], ["a", "b"]))
    first, second = picture.findall("path")
    heights = [float(base) - float(y) for base, *tops in [re.findall(r"(?<=[V,])[\d.]+", first.attrib["d"])]
               for y in tops[:-1]]
    assert heights == pytest.approx([max(heights), 0, 0, max(heights) / 2], abs=.1)
    assert set(re.findall(r"(?<=[V,])[\d.]+", second.attrib["d"])) == {"44", "44.0"}  # on the ground all the way
    assert [text.text for text in picture.findall("text")] == ["0", "3"]
    assert histogram([np.array([]), np.array([])], ["a", "b"]) == ""


# -- what can be wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "message"), [
    (["--rules", "gravi"], "unknown rule of peptides 'gravi'; did you mean 'gravy'?"),
    (["--rules", "gravy", "--all"], "give either --rules or --all, not both"),
    (["-n", "1"], "Invalid value for '-n': 1 is not in the range x>=2."),
    (["-o", "x.png"], "unknown file suffix of a comparison '.png'"),
    (["-o", "nowhere/x.html"], "the folder nowhere does not exist; create it first"),
])
def test_bad_options(files, capsys, words, message):
    code, out, err = run(capsys, PEPTIDES, files["a"], files["b"], *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_bad_models(files, tmp_path, capsys):
    code, _, err = run(capsys, PEPTIDES, files["a"], "absent")
    assert code == 2
    assert "unknown model (and there is no such file) 'absent'" in err
    code, _, err = run(capsys, "molecules", files["a"], files["b"], "-n", 2)
    assert code == 2
    assert "is a model of the domain 'peptides', not of 'molecules'" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, PEPTIDES, files["a"], tmp_path / "empty")
    assert code == 2
    assert "is a folder" in err


def test_a_text_column_is_no_rule(files, capsys):
    code, _, err = run(capsys, "molecules", files["a"], files["b"], "--rules", "qed,scaffold")
    assert code == 2
    assert "scaffold is a column of text, and only rules can be compared" in err


def test_the_folder_of_a_run_is_a_model(files, monkeypatch):
    assert find_model(str(files["b"].parent)) == files["b"]
    monkeypatch.chdir(files["b"].parent.parent)
    assert find_model("run") == Path("run/model.safetensors")
