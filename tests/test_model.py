"""The network: step == forward, log p against a slow loop, files that come back bit for bit or are refused."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seqtutor.batches import pad
from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.model import ModelConfig, SequenceModel, improved, read_metadata, resolve_device
from seqtutor.transfer import grown
from seqtutor.vocabulary import BOS, EOS, PAD, Vocabulary


def random_rows(lengths: list[int], vocabulary: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return pad([torch.randint(3, vocabulary, (n,), generator=generator).numpy() for n in lengths])


# -- numbers --------------------------------------------------------------------------------------------------------


def improved_model(depth: int = 1, readouts: int = 2) -> SequenceModel:
    """A model of eight letters with readouts of some weight."""
    torch.manual_seed(depth)
    config = ModelConfig(width=20, depth=depth, embedding=6, readouts=readouts)
    model = SequenceModel(Vocabulary("abcdefgh"), "letters", config).eval()
    for readout in model.readouts:
        torch.nn.init.normal_(readout.head.weight, std=2.0)
        readout.strength.fill_(0.7)
    return model


@pytest.mark.parametrize(("depth", "readouts"), [(1, 0), (2, 0), (3, 0), (1, 1), (2, 2)])
@torch.no_grad()
def test_step_is_forward_one_token_at_a_time(depth: int, readouts: int) -> None:
    model = improved_model(depth, readouts)
    ids = random_rows([12] * 5, 11)
    whole, after = model(ids)
    state = model.initial_state(5)
    for t in range(ids.shape[1]):
        logits, state = model.step(ids[:, t], state)
        torch.testing.assert_close(logits, whole[:, t], atol=1e-5, rtol=0)
    torch.testing.assert_close(state, after, atol=1e-5, rtol=0)
    # a sequence may be cut anywhere if the state is carried on
    first, middle = model(ids[:, :5])
    second, _ = model(ids[:, 5:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-5, rtol=0)


def test_improved_is_p_exp_q_where_the_prior_has_a_say():
    p = torch.tensor([[0.5, 0.3, 0.1992, 0.0008, 0.0], [0.25, 0.25, 0.25, 0.25, 0.0]], dtype=torch.float64)
    q = torch.tensor([[1.0, -2.0, 0.5, 30.0, 9.0], [5.0, 1.0, -300.0, 2.0, 9.0]], dtype=torch.float64)
    log_pi, value = improved(p.log(), q)
    for row, asked in ((0, [0, 1, 2]), (1, [0, 1, 2, 3])):
        z = sum(p[row, a] * q[row, a].exp() for a in asked) / sum(p[row, a] for a in asked)
        assert value[row].item() == pytest.approx(z.log().item())
        slow = [p[row, a] * (q[row, a].exp() / z if a in asked else 1) for a in range(5)]
        assert log_pi[row].exp().numpy() == pytest.approx(np.array(slow))
        assert sum(slow) == pytest.approx(1)
    many = torch.full((5000,), 1 / 5000).log()  # a vocabulary in which every token is rare: all have a say
    log_pi, value = improved(many, torch.arange(5000.0) / 1000)
    assert log_pi.exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert log_pi[-1] - log_pi[0] == pytest.approx(4.999, abs=1e-3)


@torch.no_grad()
def test_a_readout_makes_the_model_better_by_its_value() -> None:
    """π ∝ p·exp(strength·value), from the numbers of the parts; a new one changes nothing, and the model it is put
    behind stays as it is."""
    model = improved_model(readouts=1)
    ids = random_rows([12] * 5, 11)
    logits, states, _ = model.read(ids)
    p = model.head(states).double().softmax(-1)
    raised = p * (0.7 * model.readouts[0](states)[0].double()).exp()
    judged = p > 1e-3
    expected = torch.where(judged, raised * ((p * judged).sum(-1) / (raised * judged).sum(-1))[..., None], p)
    assert (expected - p).abs().max() > 0.05
    torch.testing.assert_close(logits.double().softmax(-1), expected, atol=1e-5, rtol=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    more = model.with_readout(longest=12)
    assert (more.config.readouts, model.config.readouts, len(model.readouts)) == (2, 1, 1)
    torch.testing.assert_close(more(ids)[0].softmax(-1), logits.softmax(-1), atol=1e-6, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_file_holds_the_readouts(tmp_path: Path) -> None:
    model = improved_model()
    model.save(tmp_path / "m.safetensors")
    loaded = SequenceModel.load(tmp_path / "m.safetensors")
    assert loaded.config == model.config
    ids = random_rows([12] * 5, 11)
    assert torch.equal(loaded(ids)[0], model(ids)[0])


@torch.no_grad()
def test_new_tokens_hardly_change_what_a_readout_says() -> None:
    model = improved_model(readouts=1)
    more = grown(model, Vocabulary("abcdefghXY"))
    ids = random_rows([12] * 5, 11)
    torch.testing.assert_close(more.log_probs(ids), model.log_probs(ids), atol=0.1, rtol=0)
    assert float(more(ids)[0].softmax(-1)[..., -2:].max()) < 0.1


@torch.no_grad()
def test_log_probs_against_a_slow_loop(tiny_model: SequenceModel) -> None:
    ids = random_rows([3, 9, 1, 6], len(tiny_model.vocabulary))
    fast = tiny_model.log_probs(ids)
    assert fast.shape == (4, ids.shape[1] - 1)
    for row, got in zip(ids.tolist(), fast.tolist(), strict=True):
        state = tiny_model.initial_state(1)
        for t in range(len(row) - 1):
            if row[t + 1] == PAD:
                assert got[t] == 0
                continue
            logits, state = tiny_model.step(torch.tensor([row[t]]), state)
            weights = [float(torch.exp(x.double())) for x in logits[0]]
            assert got[t] == pytest.approx(float(torch.log(torch.tensor(weights[row[t + 1]] / sum(weights)))), abs=1e-5)
    assert fast.min() < -4  # the model is not uniform, so that the comparison means something


@torch.no_grad()
def test_padding_contributes_nothing(tiny_model: SequenceModel) -> None:
    ids = random_rows([4, 7], len(tiny_model.vocabulary))
    wider = torch.cat([ids, torch.full((2, 5), PAD)], 1)
    torch.testing.assert_close(tiny_model.log_probs(ids).sum(1), tiny_model.log_probs(wider).sum(1), atol=1e-5, rtol=0)
    alone = tiny_model.log_probs(ids[:1, :6])  # bos, 4 tokens, eos
    torch.testing.assert_close(alone[0], tiny_model.log_probs(ids)[0, :5], atol=1e-5, rtol=0)
    assert (tiny_model.log_probs(ids)[0, 5:] == 0).all()


def test_padding_has_no_gradient(tiny_model: SequenceModel) -> None:
    ids = random_rows([2, 9], len(tiny_model.vocabulary))
    tiny_model.log_probs(ids).sum().backward()
    assert tiny_model.embedding.weight.grad is not None
    assert not tiny_model.embedding.weight.grad[PAD].any()
    assert tiny_model.embedding.weight.grad[BOS].any()


@torch.no_grad()
def test_a_batch_of_eight_is_eight_batches_of_one(tiny_model: SequenceModel) -> None:
    ids = random_rows([10] * 8, len(tiny_model.vocabulary))
    together = tiny_model.log_probs(ids)
    for i in range(8):
        torch.testing.assert_close(tiny_model.log_probs(ids[i:i + 1])[0], together[i], atol=1e-5, rtol=0)


def test_dropout_only_while_training() -> None:
    torch.manual_seed(0)
    model = SequenceModel(Vocabulary("abc"), "letters", ModelConfig(width=16, embedding=4, dropout=0.5))
    ids = random_rows([6, 6], 6)
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])


@pytest.mark.parametrize(("field", "value"), [("width", 0), ("depth", -1), ("embedding", 1.5), ("dropout", 1.0),
                                              ("dropout", -0.1), ("dropout", float("nan")), ("readouts", -1),
                                              ("readouts", 1.5), ("readouts", 1000)])
def test_a_bad_architecture_is_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"model {field} must be .* not {value}"):
        ModelConfig(**{field: value})  # type: ignore[arg-type]


def test_vocabulary_round_trip_and_refusals() -> None:
    vocabulary = Vocabulary(["a", "bb", "c"])
    assert vocabulary.encode(["bb", "a"]).tolist() == [4, 3]
    assert vocabulary.decode([BOS, 4, 3, EOS, 5, PAD]) == ["bb", "a"]
    for tokens in (["a", "a"], ["a", ""], ["<pad>"]):
        with pytest.raises(UsageError, match="every token once"):
            Vocabulary(tokens)


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tiny_model: SequenceModel, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tiny_model.save(path)
    return path


def test_a_model_comes_back_bit_for_bit(tiny_model: SequenceModel, saved: Path) -> None:
    loaded = SequenceModel.load(saved, "peptides")
    assert not loaded.training
    assert loaded.vocabulary == tiny_model.vocabulary
    assert (loaded.domain, loaded.config, loaded.provenance) == ("peptides", tiny_model.config, tiny_model.provenance)
    before, after = tiny_model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = random_rows([5, 8], len(tiny_model.vocabulary))
    assert torch.equal(tiny_model.log_probs(ids), loaded.log_probs(ids))
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    again = saved.with_name("again.safetensors")
    loaded.save(again)
    assert again.read_bytes() == saved.read_bytes()


def refused(path: Path, domain: str | None = None) -> str:
    """The one line that loading ``path`` ends in."""
    with pytest.raises(UsageError) as caught:
        SequenceModel.load(path, domain)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_cut_off_anywhere(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for cut in (0, 4, 8, 9, header // 2, header - 1, header, header + 1, len(content) // 2, len(content) - 1):
        path = tmp_path / f"cut{cut}.safetensors"
        path.write_bytes(content[:cut])
        assert ("cut off" if cut < header else "damaged") in refused(path), cut
    path.write_bytes(content + b"more")
    assert "damaged" in refused(path)


def test_files_of_another_kind(tiny_model: SequenceModel, tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("CCO ethanol\n" * 1000)
    assert "not a safetensors file" in refused(text)
    assert "expected a model written by seqtutor" in refused(text)
    empty = tmp_path / "empty"
    empty.touch()
    assert "not a safetensors file" in refused(empty)
    torch_file = tmp_path / "model.pt"
    torch.save(tiny_model.state_dict(), torch_file)
    assert "not a safetensors file" in refused(torch_file)
    for name, metadata in (("plain", None), ("foreign", {"format": "pt"})):
        foreign = tmp_path / f"{name}.safetensors"
        save_file({"weight": torch.zeros(3)}, foreign, metadata)
        assert "not a model written by seqtutor (seqtutor-model/1)" in refused(foreign)
    for body in ("[1]", '{"__metadata__": null}', '{"__metadata__": [1]}', "[" * 100_000, "3"):
        odd = tmp_path / "odd.safetensors"
        odd.write_bytes(struct.pack("<Q", len(body)) + body.encode())
        refused(odd)


def test_folders_and_absent_files(tmp_path: Path) -> None:
    assert "is a folder; name a file in it" in refused(tmp_path)
    assert "there is no file" in refused(tmp_path / "absent.safetensors")


def test_another_domain(saved: Path) -> None:
    assert "is a model of the domain 'peptides', not of 'molecules'" in refused(saved, "molecules")


class Evil:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.open, (str(self.mark), os.O_CREAT)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for name, write in (("a.safetensors", pickle.dumps), ("b.safetensors", lambda evil: pickle.dumps({"w": evil}, 0))):
        path = tmp_path / name
        path.write_bytes(write(Evil(mark)))
        refused(path)
    torch.save({"w": Evil(mark)}, tmp_path / "c.safetensors")
    refused(tmp_path / "c.safetensors")
    assert not mark.exists()
    os.close(pickle.loads(pickle.dumps(Evil(mark))))
    assert mark.exists()  # the trap itself works


def tampered(saved: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> Path:
    tensors, metadata = load_file(saved), read_metadata(saved)
    change(tensors, metadata)
    path = saved.with_name("tampered.safetensors")
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(("change", "words"), [
    (lambda t, m: t.update({"head.bias": t["head.bias"][:-1].clone()}), "do not fit its architecture"),
    (lambda t, m: t.pop("head.bias"), "do not fit its architecture"),
    (lambda t, m: t.update(extra=torch.zeros(1)), "do not fit its architecture"),
    (lambda t, m: t["head.weight"].fill_(float("nan")), "not finite"),
    (lambda t, m: t["lstm.weight_hh_l1"][0].fill_(float("inf")), "not finite"),
    (lambda t, m: m.update(config=json.dumps({"width": 0})), "width must be"),
    (lambda t, m: m.update(config=json.dumps({"heads": 8})), "heads"),
    (lambda t, m: m.update(config="{"), "damaged"),
    (lambda t, m: m.update(vocabulary=json.dumps(["A", "A"])), "every token once"),
    (lambda t, m: m.update(vocabulary=json.dumps(["A", "C"])), "do not fit its architecture"),
    (lambda t, m: m.pop("vocabulary"), "not a model written by seqtutor"),
    (lambda t, m: m.update(format="seqtutor-model/9"), "seqtutor-model/1"),
])
def test_tampered_files(saved: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object],
                        words: str) -> None:
    assert words in refused(tampered(saved, change))


def test_a_tampering_that_changes_nothing_loads(saved: Path) -> None:
    before = SequenceModel.load(saved).state_dict()
    after = SequenceModel.load(tampered(saved, lambda t, m: None)).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_full_disk_leaves_the_earlier_model(tiny_model: SequenceModel, saved: Path,
                                              full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    before = saved.read_bytes()
    with full_disk(1000), pytest.raises(SeqtutorError, match=r"cannot write .*model\.safetensors: .*; free some space"):
        tiny_model.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(SeqtutorError, match=f"the device '{name}' is not to be had here"):
            resolve_device(name)
