"""The Note RNN of Sequence Tutor (arXiv 1611.02796) as one of our models, with a domain of its own.

The author's network (one LSTM of 100 units over 38 classes, from the research branches of magenta; a file of weights
that is no part of this repository) starts from a zero state with a *primer*, a class drawn uniformly from 0…36 that is
heard but is no part of the composition, and then writes 32 classes. :func:`load_note_rnn` builds a
:class:`seqtutor.model.SequenceModel` that does exactly that with nothing but weights.

    seqtutor domains benchmarks/note_rnn.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from seqtutor.domain import Domain, Grammar, Rule, UnknownToken, UsageError
from seqtutor.vocabulary import BOS, EOS, SPECIALS, Vocabulary
from seqtutor_music import sequence_tutor

if TYPE_CHECKING:  # a domain does without torch
    from seqtutor.model import SequenceModel

CLASSES, PRIMERS, STEPS = 38, 37, 32
TONIC = 14  # C4
WIDTH = 100  # units of the author's LSTM
SHAPES = {"lstm_kernel": (CLASSES + WIDTH, 4 * WIDTH), "lstm_bias": (4 * WIDTH,), "output_kernel": (WIDTH, CLASSES),
          "output_bias": (CLASSES,)}


def classes(batch: Sequence[Sequence[str]]) -> np.ndarray:
    """int [batch, 32]: the compositions, without their primers."""
    return np.array(batch, dtype=np.int64).reshape(len(batch), -1)[:, 1:]


def step_score(function: Callable[..., np.ndarray]) -> Callable[..., list[list[float]]]:
    """A rule of Sequence Tutor on token lists, 0 at the primer; nan for a list of another length."""
    def score(batch: Sequence[Sequence[str]]) -> list[list[float]]:
        whole = [i for i, row in enumerate(batch) if len(row) == 1 + STEPS]
        scores = [[float("nan")] * len(row) for row in batch]
        if whole:
            for i, row in zip(whole, function(classes([batch[i] for i in whole])).tolist(), strict=True):
                scores[i] = [0.0, *row]
        return scores

    return score


def end_score(name: str) -> Callable[[Sequence[str]], list[float]]:
    """One of the metrics of Table 1 on texts of a primer and 32 classes."""
    def score(texts: Sequence[str]) -> list[float]:
        return sequence_tutor.metrics(classes([text.split(" ") for text in texts]))[name].tolist() if texts else []

    return score


def nine(x: np.ndarray) -> np.ndarray:
    """0. The nine rules together: r_MT, what the paper's networks were tuned to."""
    return np.sum(list(sequence_tutor.rewards(x).values()), axis=0)


def tonic_start(x: np.ndarray) -> np.ndarray:
    """0. 1 for the tonic as the first class."""
    found = np.zeros(x.shape)
    found[:, 0] = x[:, 0] == TONIC
    return found


class NoteRnn(Domain):
    """33 classes, "0" to "37" with blanks between them; the first is the primer."""

    name = "note-rnn"
    about = "32 sixteenths in the 38 classes of Sequence Tutor's Note RNN, after a primer"
    text_column = "classes"
    max_length = 2 + STEPS
    tokens = tuple(map(str, range(CLASSES)))
    rules = (
        *(Rule(name, " ".join((rule.__doc__ or "").split()[1:]), step_score(rule), when="step")
          for name, rule in (sequence_tutor.RULES | {"nine": nine, "tonic-start": tonic_start}).items()),
        Rule("unique-high", "whether the highest class occurs once", end_score("num_high_unique"), low=0.0, high=1.0),
        Rule("unique-low", "whether the lowest pitch occurs once", end_score("num_low_unique"), low=0.0, high=1.0))
    presets = {"sequence-tutor": {  # noqa: RUF012 (as in Domain)
        "about": "the nine rules as published, c = .5", "terms": ["nine"], "aggregate": "sum", "beta": 0.5}}

    def split(self, text: str) -> list[str]:
        parts = text.split(" ") if text else []
        for i, part in enumerate(parts):
            if part not in self.tokens:
                raise UnknownToken(part, sum(len(p) + 1 for p in parts[:i]), text, self.tokens)
        return parts

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)

    def canonical(self, text: str) -> str | None:
        try:
            return text if len(self.split(text)) == 1 + STEPS else None
        except UnknownToken:
            return None

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar:
        """A primer and 32 classes, no fewer and no more. States count what is written."""
        table = np.full((STEPS + 3, len(vocabulary)), -1, dtype=np.int32)
        written = np.arange(1 + STEPS)
        table[written, len(SPECIALS):] = written[:, None] + 1
        table[1 + STEPS, EOS] = STEPS + 2
        return Grammar(table)

    def edits(self, texts: Sequence[str], n: int, rng: Random) -> list[str]:
        """Neighbours with one class changed: the first to the tonic, or some other to a new highest or lowest
        pitch. All three are rare in what the network writes by itself, and rewarded."""
        found: list[str] = []
        for text in rng.choices(texts, k=n) if texts else ():
            row = [int(part) for part in self.split(text)]
            pitches = [c for c in row[1:] if c >= sequence_tutor.FIRST_PITCH] or [TONIC]
            place, value = rng.choice([(1, TONIC), (rng.randrange(2, len(row)), max(pitches) + rng.randint(1, 4)),
                                       (rng.randrange(2, len(row)), min(pitches) - rng.randint(1, 4))])
            if sequence_tutor.FIRST_PITCH <= value < CLASSES and row[place] != value:
                row[place] = value
                found.append(self.join([str(c) for c in row]))
        return [text for text in dict.fromkeys(found) if text not in texts]

    def given(self, tokens: Sequence[str]) -> int:
        return min(1, len(tokens))


DOMAIN = NoteRnn()

# -- the network -----------------------------------------------------------------------------------------------------

_NEVER = -100.0  # a logit: e⁻¹⁰⁰ is nothing beside 1 in fp32, and small enough to leave sums of logits their digits
_OFF, _ON = -110.0, 110.0  # gates: fp32 gives exactly 0 and 1, so no gradient moves what is held there
_LOUD = 100.0  # bos in its input dimension; large, so that the weights of that dimension can be of ordinary size


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The four arrays of ``note_rnn.npz``. Raises :class:`UsageError` where they are others."""
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name].astype(np.float32) for name in file.files}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the Note RNN from {path}: {error}") from error
    if (found := {name: array.shape for name, array in weights.items()}) != SHAPES:
        raise UsageError(f"{path} holds {found}; the Note RNN has {SHAPES}")
    return weights


def load_note_rnn(path: Path) -> SequenceModel:
    """The author's network with one input dimension and one unit more, which are on after bos and never again.

    The dimension closes the input gates of the 100 units at bos, so that their state stays exactly zero; the unit then
    turns the logits into those of a uniform primer. In the file the gates come as i, j, f, o with a forget bias of 1
    still to be added; torch's order is i, f, g, o.
    """
    import torch

    from seqtutor.corpus import file_sha256
    from seqtutor.model import ModelConfig, SequenceModel

    weights = read_weights(path)
    kernel = torch.from_numpy(weights["lstm_kernel"]).reshape(CLASSES + WIDTH, 4, WIDTH)[:, [0, 2, 1, 3]]
    bias = torch.from_numpy(weights["lstm_bias"]).reshape(4, WIDTH)[[0, 2, 1, 3]]
    bias[1] += 1.0
    model = SequenceModel(Vocabulary(DOMAIN.tokens), DOMAIN.name, ModelConfig(width=WIDTH + 1, embedding=CLASSES + 1),
                          {"note_rnn": path.name, "sha256": file_sha256(path)})
    first = len(SPECIALS)  # the id of class 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.weight[first:, :CLASSES] = torch.eye(CLASSES)
        model.embedding.weight[BOS, CLASSES] = _LOUD
        w_x, w_h, b = (getattr(model.lstm, name).view(4, WIDTH + 1, -1) for name in
                       ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"))
        w_x[:, :WIDTH, :CLASSES] = kernel[:CLASSES].permute(1, 2, 0)
        w_h[:, :WIDTH, :WIDTH] = kernel[CLASSES:].permute(1, 2, 0)
        b[:, :WIDTH, 0] = bias
        w_x[0, :WIDTH, CLASSES] = _OFF / _LOUD
        w_x[0, WIDTH, CLASSES] = (_ON - _OFF) / _LOUD
        b[:, WIDTH, 0] = torch.tensor([_OFF, _OFF, _ON, _ON])  # in, forget, cell, out
        model.head.weight[first:, :WIDTH] = torch.from_numpy(weights["output_kernel"]).T
        model.head.bias[:first] = _NEVER
        model.head.bias[first:] = torch.from_numpy(weights["output_bias"])
    make_primer_uniform(model)
    return model.eval()


def make_primer_uniform(model: SequenceModel) -> None:
    """Sets the head's weights of the extra unit so that the primer is uniform, also after tuning has moved the head's
    bias, which both share."""
    import torch

    with torch.no_grad():
        first = len(SPECIALS)
        (h, _) = model.lstm(model.embedding(torch.tensor([[BOS]])))[1]
        model.head.weight[:, WIDTH] = 0.0
        wanted = torch.full_like(model.head.bias, _NEVER)
        wanted[first:first + PRIMERS] = 0.0
        model.head.weight[:, WIDTH] = (wanted - model.head.weight @ h[0, 0] - model.head.bias) / h[0, 0, WIDTH]
