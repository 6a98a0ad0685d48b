"""A network that begins with another's weights, and may know more tokens than that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from seqtutor.domain import Domain, UsageError
from seqtutor.model import ModelConfig, SequenceModel
from seqtutor.vocabulary import EOS, Vocabulary


def begin_with(path: Path, domain: Domain, vocabulary: Vocabulary, model: ModelConfig | None) -> SequenceModel:
    """The network in ``path``, with what ``vocabulary`` adds behind its tokens, and (dropout aside) of the architecture
    ``model`` if that is given; otherwise :class:`UsageError`."""
    network = SequenceModel.load(path, domain.name)
    known = len(network.vocabulary.tokens)
    if len(vocabulary.tokens) > known and vocabulary.tokens[:known] == network.vocabulary.tokens:
        network = grown(network, vocabulary)
    if network.vocabulary != vocabulary:
        apart = sorted(set(vocabulary.tokens) ^ set(network.vocabulary.tokens)) or ["their order"]
        raise UsageError(f"{path} was trained on other tokens than the domain {domain.name!r} has now (they differ in "
                         f"{', '.join(apart[:5])}); begin without --from")
    if model is not None:
        if dataclasses.replace(model, dropout=network.config.dropout) != network.config:
            c = network.config
            raise UsageError(f"{path} is an LSTM of width {c.width}, depth {c.depth} and embedding {c.embedding}, not "
                             f"{model.width}, {model.depth} and {model.embedding}; leave these out with --from")
        fresh = SequenceModel(vocabulary, domain.name, model, network.provenance)
        fresh.load_state_dict(network.state_dict())
        network = fresh
    return network


#: Under the least likely token that the network knows, in nats, does it begin with a new one.
_NEW_BELOW = 2.0


@torch.no_grad()
def grown(network: SequenceModel, vocabulary: Vocabulary) -> SequenceModel:
    """``network`` with rows for the tokens that ``vocabulary`` adds behind its own: an average embedding, and scores
    that hardly change what it says of texts without them."""
    more = len(vocabulary) - len(network.vocabulary)
    new = SequenceModel(vocabulary, network.domain, network.config, network.provenance)
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.ndim and len(tensor) == len(network.vocabulary) and tensor.shape != new.state_dict()[name].shape:
            row = tensor[EOS + 1:].mean(0, keepdim=True)  # (pad and bos are never written)
            if name == "head.bias":
                row = tensor[EOS:].min().reshape(1) - _NEW_BELOW
            elif name == "head.weight":
                row = torch.zeros_like(row)
            state[name] = torch.cat([tensor, row.expand(more, *row.shape[1:])])
    new.load_state_dict(state)
    return new.eval()
