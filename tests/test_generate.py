"""Exactly n, each once, all of them acceptable; or what there is, and why there is not more."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqtutor.cli.generate import best
from seqtutor.domain import Table, UsageError
from seqtutor.generate import generate
from seqtutor.known import KnownTexts
from seqtutor.models import entries
from seqtutor.sampling import SamplingConfig

PEPTIDES = Path(__file__).parent.parent / "examples" / "peptide_domain.py"
FP32 = SamplingConfig(precision="fp32", max_length=12)
shipped = pytest.mark.skipif(not any(e.name == "molecules" for e in entries()), reason="no molecule prior is shipped")


@pytest.fixture
def model_file(tiny_model, tmp_path):
    path = tmp_path / "peptide.safetensors"
    tiny_model.save(path)
    return path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# -- the function ---------------------------------------------------------------------------------------------------


def test_exactly_n_unique_valid_and_canonical(peptides, tiny_model):
    result = generate(peptides, tiny_model, 300, sampling=FP32, seed=1)
    assert len(result.texts) == len(set(result.texts)) == 300
    assert all(peptides.canonical(text) == text for text in result.texts)
    assert result.reason == ""
    assert result.counts["sampled"] >= 300


def test_same_seed_same_texts_and_a_longer_run_begins_alike(peptides, tiny_model):
    ten, again, fifty = (generate(peptides, tiny_model, n, sampling=FP32, seed=4).texts for n in (10, 10, 50))
    assert ten == again == fifty[:10]
    assert generate(peptides, tiny_model, 10, sampling=FP32, seed=5).texts != ten


def test_known_texts_are_left_out(peptides, tiny_model):
    first = generate(peptides, tiny_model, 40, sampling=FP32, seed=2).texts
    second = generate(peptides, tiny_model, 40, sampling=FP32, seed=2, known=KnownTexts.of(first[::2]))
    assert not set(first[::2]) & set(second.texts)
    assert second.texts[:20] == first[1::2]
    assert second.counts["known"] == 20


def test_prefix_begins_every_text(peptides, tiny_model):
    assert all(t.startswith("KLW") for t in generate(peptides, tiny_model, 30, sampling=FP32, prefix="KLW").texts)


def test_too_little_to_find_returns_what_there_is(peptides, tiny_model):
    short = SamplingConfig(precision="fp32", max_length=1)
    result = generate(peptides, tiny_model, 100, sampling=short, most=3000)
    assert 0 < len(result.texts) <= 20  # there are twenty amino acids
    assert "3,000 samples" in result.reason
    assert result.counts["sampled"] == 3000
    assert sum(result.counts.values()) - 3000 + len(result.texts) == 3000  # every sample is accounted for


def test_ctrl_c_keeps_what_was_found(peptides, tiny_model):
    def press(done: int, note: str) -> None:
        if done > 200:
            raise KeyboardInterrupt
    result = generate(peptides, tiny_model, 10_000, sampling=FP32, progress=press)
    assert result.interrupted
    assert len(result.texts) > 200


@pytest.mark.parametrize("n", [0, -3])
def test_n_must_be_positive(peptides, tiny_model, n):
    with pytest.raises(UsageError, match="at least 1"):
        generate(peptides, tiny_model, n)


def test_best_puts_values_that_are_missing_last():
    table = Table(list("abcd"), {"text": list("abcd"), "x": [0.5, float("nan"), 0.9, 0.5]})
    assert best(table, "x", 4).texts == ["c", "a", "d", "b"]
    assert best(table, "-x", 3).texts == ["a", "d", "c"]


# -- the command ----------------------------------------------------------------------------------------------------


def test_command_writes_csv_to_a_pipe_and_counts_to_stderr(cli, model_file):
    done = cli("generate", PEPTIDES, "--model", model_file, "-n", "7", "--seed", "1")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert len({row["peptide"] for row in found}) == 7
    assert set(found[0]) == {"peptide", "gravy", "charge"}
    assert "7 peptides from" in done.stderr
    assert cli("generate", "--domain", PEPTIDES, "--model", model_file, "-n", "7", "--seed", "1").stdout == done.stdout


def test_command_tells_the_seed_it_drew(cli, model_file):
    drawn = cli("generate", PEPTIDES, "--model", model_file, "-n", "5")
    seed = drawn.stderr.split("seed ")[1].split()[0].rstrip(";")
    assert cli("generate", PEPTIDES, "--model", model_file, "-n", "5", "--seed", seed).stdout == drawn.stdout


def test_command_writes_several_files_and_json(cli, model_file, tmp_path):
    done = cli("generate", PEPTIDES, "--model", model_file, "-n", "9", "--seed", "1", "--top", "3", "--by", "-gravy",
               "-o", "a.csv", "-o", "b.json", "--json")
    assert done.returncode == 0, done.stderr
    values = [row["gravy"] for row in json.loads(done.stdout)]
    assert len(values) == 3
    assert values == sorted(values)
    assert json.loads((tmp_path / "b.json").read_text()) == json.loads(done.stdout)
    assert len(rows((tmp_path / "a.csv").read_text())) == 3


def test_command_keeps_partial_results_and_exits_1(cli, model_file, tmp_path):
    done = cli("generate", PEPTIDES, "--model", model_file, "-n", "5000", "--max-samples", "600", "--seed", "1",
               "-o", "some.csv")
    assert done.returncode == 1
    assert 0 < len(rows((tmp_path / "some.csv").read_text())) < 5000
    assert "of the 5,000 asked for" in done.stderr.strip().splitlines()[-1]


def test_novel_needs_the_list_of_known_texts(cli, model_file, tmp_path):
    done = cli("generate", PEPTIDES, "--model", model_file, "-n", "5", "--novel")
    assert done.returncode == 2
    assert "no list of what it was trained on" in done.stderr
    first = rows(cli("generate", PEPTIDES, "--model", model_file, "-n", "5", "--seed", "1").stdout)
    KnownTexts.of([row["peptide"] for row in first]).save(model_file)
    after = rows(cli("generate", PEPTIDES, "--model", model_file, "-n", "5", "--seed", "1", "--novel").stdout)
    assert not {row["peptide"] for row in first} & {row["peptide"] for row in after}


@pytest.mark.parametrize(("words", "message"), [
    (["-n", "0"], "at least 1"),
    (["-n", "many"], "not a valid integer"),
    (["--temperature", "-1"], "temperature must be 0 or more"),
    (["--top-p", "0"], "top-p must be above 0"),
    (["--top", "5"], "go together"),
    (["--top", "50", "--by", "gravy", "-n", "5"], "more than the 5"),
    (["--by", "gravvy", "--top", "5"], "did you mean 'gravy'"),
    (["--rules", "gravvy"], "did you mean 'gravy'"),
    (["--prefix", "AXA"], "unknown token 'X' at position 1"),
    (["-o", "out.xyz"], "xyz"),
    (["-o", "nowhere/out.csv"], "does not exist"),
    (["-o", "."], "folder"),
    (["--model", "nothere"], "nothere"),
    (["--model", "nothere.safetensors"], "there is no file"),
    (["--frobnicate"], "No such option"),
])
def test_bad_input_is_one_line_and_exit_2(cli, model_file, tmp_path, words, message):
    words = words if "--model" in words else [*words, "--model", str(model_file)]
    before = sorted(tmp_path.iterdir())
    done = cli("generate", PEPTIDES, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_foreign_model_is_refused(cli, model_file, tmp_path):
    done = cli("generate", "molecules", "--model", model_file, "-n", "3")
    assert done.returncode == 2
    assert "of the domain 'peptides', not of 'molecules'" in done.stderr
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_file.read_bytes()[:500])
    done = cli("generate", PEPTIDES, "--model", cut, "-n", "3")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_on_the_command_exits_130_with_what_was_found(model_file, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "seqtutor", "generate", str(PEPTIDES), "--model", str(model_file), "-n", "10000000",
         "--seed", "1", "-o", "some.csv"], cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, text=True)
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert len(rows((tmp_path / "some.csv").read_text())) > 0


def test_a_reader_that_stops_is_no_error(model_file, tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m seqtutor generate {PEPTIDES} --model {model_file} -n 3000 --seed 1 --quiet | head -2",
        shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


# -- the shipped prior ----------------------------------------------------------------------------------------------


@shipped
def test_shipped_prior_generates_drug_like_novel_molecules(cli, tmp_path):
    from rdkit import Chem
    done = cli("generate", "molecules", "-n", "60", "--novel", "--alerts", "pains,brenk", "--keep", "c1ccncc1",
               "--avoid", "[F,Cl,Br]", "--seed", "1", "-o", "hits.sdf", "-o", "hits.csv")
    assert done.returncode == 0, done.stderr
    mols = list(Chem.SDMolSupplier(str(tmp_path / "hits.sdf")))
    assert len(mols) == 60
    pyridine, halogen = Chem.MolFromSmarts("c1ccncc1"), Chem.MolFromSmarts("[F,Cl,Br]")
    assert all(m.HasSubstructMatch(pyridine) and not m.HasSubstructMatch(halogen) for m in mols)
    assert all(row["alerts"] == "" for row in rows((tmp_path / "hits.csv").read_text()))


@shipped
@pytest.mark.parametrize(("words", "message"), [
    (["--keep", "c1ccc("], "SMARTS"),
    (["--alerts", "paint"], "known: pains, brenk"),
    (["--prefix", "C[Na]"], "unknown token '[Na]'"),
])
def test_shipped_prior_refuses_bad_conditions(cli, words, message):
    done = cli("generate", "molecules", "-n", "3", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@shipped
@pytest.mark.slow
def test_auto_precision_keeps_quality():
    """Validity within .3 points and mean NLL under the fp32 model within 0.5 %, on 10,000 samples each."""
    import torch

    from seqtutor.batches import pad
    from seqtutor.models import load_model
    from seqtutor.plugins import load_domain
    from seqtutor.sampling import Sampler
    domain, model = load_domain("molecules"), load_model("molecules")
    figures = {}
    for precision in ("fp32", "auto"):
        sampler = Sampler(model, SamplingConfig(precision=precision), seed=11)
        ids = sorted(sampler.sample_ids(10_000), key=len)
        valid = sum(domain.valid(domain.join(model.vocabulary.decode(i))) for i in ids) / len(ids)
        with torch.no_grad():
            nats = sum(-float(model.log_probs(pad([torch.tensor(i[:-1]).numpy() for i in ids[k:k + 250]])).sum())
                       for k in range(0, len(ids), 250))
        figures[precision] = valid, nats / len(ids)
    assert abs(figures["auto"][0] - figures["fp32"][0]) < 0.003
    assert abs(figures["auto"][1] / figures["fp32"][1] - 1) < 0.005
