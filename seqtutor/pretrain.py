"""Loop 1: maximum likelihood on a corpus. Stopped at any moment, it goes on bit for bit."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

import seqtutor
from seqtutor import checkpoint
from seqtutor.batches import augmenter, by_length, encode, epoch_batches, pad
from seqtutor.condition import ConditionConfig, draw_invalid, validity_loss
from seqtutor.corpus import Encoded, Prepared, file_sha256
from seqtutor.domain import Domain, SeqtutorError, UsageError
from seqtutor.files import atomic, check_writable
from seqtutor.interrupt import held_interrupt
from seqtutor.known import KnownTexts
from seqtutor.machine import autocasting, keep_freed_memory
from seqtutor.model import ModelConfig, SequenceModel, resolve_device
from seqtutor.transfer import begin_with
from seqtutor.vocabulary import PAD, Vocabulary


@dataclass(frozen=True)
class PretrainConfig:
    """How a prior is trained."""

    epochs: float = field(default=16, metadata={"help": "passes over the training texts"})
    batch_size: int = field(default=128, metadata={"help": "texts a step (and a process)"})
    learning_rate: float = field(default=2e-3, metadata={"help": "Adam's peak learning rate"})
    schedule: str = field(default="cosine", metadata={"help": "cosine (to zero) or step (halved each epoch from half)"})
    warmup: int = field(default=200, metadata={"help": "steps of linear warm-up, at most a tenth of all"})
    clip: float = field(default=1.0, metadata={"help": "gradient norm above which gradients are scaled down"})
    augment: float = field(default=0.0, metadata={"help": "share of texts in another spelling, 0 to 1"})
    precision: str = field(default="auto", metadata={"help": "auto (bf16 where the machine has it), fp32 or bf16"})
    device: str = field(default="auto", metadata={"help": "auto (CUDA if present), cpu or cuda"})
    seed: int = field(default=0, metadata={"help": "of weights, order, dropout and spellings"})
    checkpoint_minutes: float = field(default=5.0, metadata={"help": "minutes between checkpoints"})
    evaluate_epochs: int = field(default=1, metadata={"help": "epochs between evaluations"})
    evaluate_samples: int = field(default=1000, metadata={"help": "samples for validity, uniqueness and novelty"})
    patience: int = field(default=0, metadata={"help": "evaluations without a lower held-out loss after which training "
                                               "ends, with the weights of the lowest; 0: never"})

    def __post_init__(self) -> None:
        for name in ("batch_size", "evaluate_epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("epochs", "learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.schedule not in ("cosine", "step"):
            raise UsageError(f"the schedule must be cosine or step, not {self.schedule!r}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UsageError(f"precision must be auto, fp32 or bf16, not {self.precision!r}")
        for name in ("warmup", "evaluate_samples", "checkpoint_minutes", "patience"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"the seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if not 0 <= self.augment <= 1:
            raise UsageError(f"augment must be from 0 to 1, not {self.augment}")


#: what the loop tells its caller after every step: {"step", "steps", "loss", …}; the command line draws it
Report = Callable[[dict[str, Any]], None]


def pretrain(domain: Domain, prepared: Prepared, out: Path, *, model: ModelConfig | None = None,
             config: PretrainConfig = PretrainConfig(), condition: ConditionConfig = ConditionConfig(),
             start: Path | None = None, resume: bool = False, command: str = "",
             report: Report | None = None) -> SequenceModel:
    """Trains a prior on ``prepared`` and writes it to ``out`` (.safetensors), with its ``.known.npy``,
    ``.metrics.csv`` and ``.checkpoint`` beside it. ``start`` is a model file whose weights the run begins with.
    ``resume`` goes on from the checkpoint exactly as if nothing had happened; Ctrl-C writes one.

    Under torchrun every process takes its share of each batch of steps and the gradients are averaged.
    Raises :class:`SeqtutorError` when the loss is not finite; the checkpoint before that stays. Raises
    :class:`UsageError` when a checkpoint is there that is not to be resumed, or when ``start`` is of another domain,
    vocabulary or architecture than asked for.
    """
    # 1. Places and processes
    saved = Path(f"{check_writable(out)}.checkpoint")
    if saved.exists() and not resume:
        raise UsageError(f"{saved} holds an earlier run; go on from it with --resume, or remove it to begin anew")
    log = Path(f"{out}.metrics.csv")
    rank, world = _join_processes()
    device = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}" if world > 1 and torch.cuda.is_available()
                            else config.device)
    autocast = autocasting(config.precision, device)
    keep_freed_memory()

    # 2. Data: ids in one array, the vocabulary that the domain declares
    vocabulary = Vocabulary(domain.tokens)
    train = encode(domain, vocabulary, prepared.train)
    heldout = encode(domain, vocabulary, prepared.heldout)
    augment = augmenter(domain, vocabulary, prepared.train, config.augment) if config.augment else None

    # 3. The network and its optimiser, fresh or from the checkpoint
    torch.manual_seed(config.seed)
    network = SequenceModel(vocabulary, domain.name, model or ModelConfig()) if start is None else begin_with(
        start, domain, vocabulary, model)
    optimizer = torch.optim.Adam(network.to(device).parameters(), lr=config.learning_rate)
    origin = {"sha256": file_sha256(start), "provenance": network.provenance} if start else {}
    identity = {"config": dataclasses.asdict(config), "model": dataclasses.asdict(network.config), "world": world,
                "condition": dataclasses.asdict(condition), "from": origin.get("sha256"),
                "corpus": prepared.manifest["sha256"], "train": len(train), "domain": domain.name}
    step, seconds = 0, 0.0
    rows: list[dict[str, Any]] = []
    running = torch.zeros(4, dtype=torch.float64)  # nats, tokens; valid, judged: sums since the last evaluation
    best: dict[str, Tensor] = {}  # the weights of the lowest held-out loss, if there is patience
    if resume:
        step, rows, seconds, running, best = _restore(saved, network, optimizer, identity)
    per_epoch = math.ceil(math.ceil(len(train) / config.batch_size) / world)
    steps = max(1, round(per_epoch * config.epochs))
    parallel = nn.parallel.DistributedDataParallel(network) if world > 1 else network

    # 4. One step after another
    started = last_saved = time.monotonic()
    batches: list[np.ndarray[Any, Any]] = []
    with held_interrupt() as interrupted:
        while step < steps and not overfits(rows, config.patience):
            epoch, place = divmod(step, per_epoch)
            if not batches or place == 0:
                batches = epoch_batches(train.lengths, config.batch_size, config.seed, epoch)
            # 4a. the batch of this process (the last round of an epoch wraps around so that all have one)
            chosen = batches[(place * world + rank) % len(batches)]
            key = np.array([config.seed, epoch])
            ids = pad([augment(key, train[int(i)], int(i)) if augment else train[int(i)] for i in chosen]).to(device)
            # 4b. mean negative log-likelihood a token, in nats; dropout's draws depend on the step, not on the past
            network.train()
            seed = (config.seed * 1_000_003 + step) * world + rank
            torch.manual_seed(seed)
            with autocast():
                logits, _ = parallel(ids[:, :-1])
            target = ids[:, 1:]
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=PAD)
            tokens = int((target != PAD).sum())
            # 4c. now and then the share of invalid texts among fresh samples, for all the steps until the next draw
            objective = loss
            if condition.weight and step % condition.every == 0:
                network.eval()
                invalid, judged = draw_invalid(domain, network, condition, seed)
                running[2:] += torch.tensor([judged - len(invalid), judged], dtype=torch.float64)
                weight = condition.weight * condition.every * len(chosen) / tokens  # beside nats a token
                with autocast():
                    objective = loss + weight * validity_loss(network, invalid, judged)
            # 4d. gradients, clipped; the step
            optimizer.zero_grad(set_to_none=True)
            objective.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            if not (torch.isfinite(objective) and torch.isfinite(norm)):
                raise SeqtutorError(f"the loss stopped being finite at step {step}; begin again with a lower "
                                    "--learning-rate or --clip (or with --precision fp32)")
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, steps, per_epoch)
            optimizer.step()
            step += 1
            # 4e. what to tell, what to keep
            running[:2] += torch.tensor([loss.item() * tokens, tokens], dtype=torch.float64)
            elapsed = seconds + time.monotonic() - started
            now = {"step": step, "steps": steps, "loss": loss.item(), "seconds": elapsed,
                   "drawn_valid": float(running[2] / running[3])}
            if report and rank == 0:
                report(now)
            if step == steps or (step % per_epoch == 0 and step // per_epoch % config.evaluate_epochs == 0):
                row = {"step": step, "seconds": round(elapsed, 1),
                       "epoch": round(step / per_epoch, 3) if step % per_epoch else step // per_epoch,
                       "learning_rate": learning_rate(config, step - 1, steps, per_epoch),
                       "train_nats_token": float(running[0] / running[1]),
                       "drawn_valid": float(running[2] / running[3]),
                       **evaluate(network, domain, heldout, prepared, config)}
                running.zero_()
                rows.append(row)
                if config.patience and lowest(rows) == len(rows) - 1:
                    best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
                if rank == 0:
                    write_metrics(log, rows)
                    if report:
                        report(now | {"row": row})
            stop = world == 1 and interrupted()  # (one of several processes cannot stop alone)
            if rank == 0 and (time.monotonic() - last_saved > 60 * config.checkpoint_minutes or step == steps or stop
                              or overfits(rows, config.patience)):
                _keep(saved, network, optimizer, identity, step, rows, elapsed, running, best)
                last_saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt

    # 5. The finished model, with all that a reader needs to make it again
    network.eval().to("cpu")
    if best:
        network.load_state_dict(best)
    network.provenance = {"corpus": prepared.manifest, "pretrain": dataclasses.asdict(config), "command": command,
                          "processes": world, "seconds": round(seconds + time.monotonic() - started, 1),
                          "figures": rows[lowest(rows) if best else -1] if rows else {},
                          "condition": dataclasses.asdict(condition), "from": origin, "torch": torch.__version__,
                          "seqtutor": seqtutor.__version__}
    if rank == 0:
        network.save(out)
        known = KnownTexts.of(prepared.train + prepared.heldout)
        if start and KnownTexts.path(start).exists():
            known |= KnownTexts.load(start)
        known.save(out)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return network


def lowest(rows: Sequence[Mapping[str, Any]]) -> int:
    """Which of the evaluations has the lowest held-out loss, the first of equal ones; none that is nan, unless all are.
    """
    losses = [float(row["heldout_nats_token"]) for row in rows]
    return min(range(len(losses)), key=lambda i: (math.isnan(losses[i]), losses[i]))


def overfits(rows: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the last ``patience`` evaluations (0: any number) brought no lower held-out loss."""
    return bool(patience and rows) and not math.isnan(float(rows[-1]["heldout_nats_token"])) and \
        len(rows) - 1 - lowest(rows) >= patience


def learning_rate(config: PretrainConfig, step: int, steps: int, per_epoch: int) -> float:
    """The rate of ``step`` (from 0) of ``steps``: linear warm-up (over a tenth at most), then cosine to zero, or halved
    each epoch of the second half of training."""
    warm = min(1.0, (step + 1) / max(1, min(config.warmup, steps // 10)))
    if config.schedule == "cosine":
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
    return config.learning_rate * warm * 0.5 ** max(0, (step - steps // 2) // per_epoch)


@torch.no_grad()
def heldout_loss(network: SequenceModel, heldout: Encoded, batch: int = 256) -> tuple[float, float]:
    """Held-out loss in nats a token (eos counted) and nats a text, in fp32; nan when nothing is held out."""
    device = network.head.weight.device
    network.eval()
    nats = sum(-float(network.log_probs(ids.to(device)).double().sum()) for ids in by_length(heldout, batch))
    tokens = len(heldout.ids) + len(heldout)
    return (nats / tokens, nats / len(heldout)) if len(heldout) else (math.nan, math.nan)


def evaluate(network: SequenceModel, domain: Domain, heldout: Encoded, prepared: Prepared,
             config: PretrainConfig) -> dict[str, float]:
    """Held-out loss, and validity, uniqueness and novelty (shares, 0 to 1) of fresh samples at temperature 1."""
    from seqtutor.evaluate import sample_quality
    from seqtutor.sampling import Sampler

    token, text = heldout_loss(network, heldout)
    figures = {"heldout_nats_token": token, "heldout_nats_text": text}
    if config.evaluate_samples:
        sampler = Sampler(network, seed=config.seed + 1)
        samples = [domain.join(tokens) for tokens in sampler.sample(config.evaluate_samples)]
        figures |= sample_quality(domain, samples, known=set(prepared.train))
    return figures


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    """All evaluations so far as CSV, replaced whole."""
    with atomic(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[-1].keys())
        writer.writeheader()
        writer.writerows(rows)


def _join_processes() -> tuple[int, int]:
    """(rank, world) under torchrun, (0, 1) otherwise."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


def _keep(path: Path, network: SequenceModel, optimizer: torch.optim.Optimizer, identity: dict[str, Any], step: int,
          rows: list[dict[str, Any]], seconds: float, running: Tensor, best: dict[str, Tensor]) -> None:
    tensors: dict[str, Tensor] = {
        **checkpoint.pack("model", network.state_dict()),
        **checkpoint.pack("optimizer", checkpoint.optimizer_tensors(optimizer)),
        **checkpoint.pack("best", best),
        "running": running,
    }
    checkpoint.save(path, tensors, {**identity, "step": step, "rows": rows, "seconds": seconds})


def _restore(path: Path, network: SequenceModel, optimizer: torch.optim.Optimizer,
             identity: dict[str, Any],
             ) -> tuple[int, list[dict[str, Any]], float, Tensor, dict[str, Tensor]]:
    tensors, state = checkpoint.load(path)
    before, now = _flat({what: state.get(what) for what in identity}), _flat(identity)
    if before != now:
        differ = ", ".join(f"{what} was {before.get(what)!r} and is {now.get(what)!r}"
                           for what in sorted(before | now) if before.get(what) != now.get(what))
        raise UsageError(f"{path} belongs to another run ({differ}); give the same options, or begin without --resume")
    network.load_state_dict(checkpoint.unpack("model", tensors))
    checkpoint.restore_optimizer(optimizer, checkpoint.unpack("optimizer", tensors))
    return state["step"], state["rows"], state["seconds"], tensors["running"], checkpoint.unpack("best", tensors)


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for what, value in identity.items():
        flat |= value if isinstance(value, dict) else {what: value}
    return flat


def plot_loss(metrics: Path, picture: Path) -> str:
    """Draws training and held-out loss over epochs; returns '' or one line saying why it was left out."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no loss plot without matplotlib: pip install 'seqtutor[plots]'"
    with open(metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="nats a token")
    epochs = [float(row["epoch"]) for row in rows]
    for name, label in (("train_nats_token", "training"), ("heldout_nats_token", "held out")):
        axes.plot(epochs, [float(row[name]) for row in rows], marker="o", label=label)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(picture) as temporary:
        figure.savefig(temporary, dpi=130)
    return ""
