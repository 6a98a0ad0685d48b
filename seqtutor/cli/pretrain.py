"""``seqtutor pretrain``: a prior from a corpus."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

import click

from seqtutor.cli.options import domain_argument, load
from seqtutor.cli.progress import Progress
from seqtutor.domain import UsageError
from seqtutor.files import check_writable

#: settings for what is mostly some hundreds of one's own texts, if they are not given
_OWN: dict[str, Any] = {"epochs": 20, "batch_size": 32, "learning_rate": 1e-3, "patience": 3}


@click.command()
@domain_argument
@click.argument("corpus")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="the model file to write")
@click.option("--column", help="the column that holds the texts, for files with columns")
@click.option("--heldout", type=float, default=0.05, show_default=True, help="share held out, by hash")
@click.option("--from", "start", metavar="NAME|FILE", help="begin with the weights of this model")
@click.option("--width", type=int, help="LSTM units a layer  [default: 512, or as in --from]")
@click.option("--depth", type=int, help="LSTM layers  [default: 1, or as in --from]")
@click.option("--embedding", type=int, help="embedding units  [default: 64, or as in --from]")
@click.option("--dropout", type=float, help="before the head and between layers  [default: 0, or as in --from]")
@click.option("--extend-vocabulary", is_flag=True, help="add the tokens of CORPUS that the model lacks")
@click.option("--skip-unknown", is_flag=True, help="leave out texts with tokens that the model lacks")
@click.option("--epochs", type=float, help="passes over the training texts  [default: 16, or 20 with --from]")
@click.option("--batch-size", type=int, help="texts a step (and a process)  [default: 128, or 32 with --from]")
@click.option("--learning-rate", type=float, help="Adam's peak rate  [default: 2e-3, or 1e-3 with --from]")
@click.option("--schedule", type=click.Choice(["cosine", "step"]), default="cosine", show_default=True,
              help="cosine to zero, or halved each epoch of the second half")
@click.option("--warmup", type=int, default=200, show_default=True,
              help="steps of linear warm-up, at most a tenth of all")
@click.option("--clip", type=float, default=1.0, show_default=True, help="largest gradient norm")
@click.option("--augment", type=float, default=0.0, show_default=True,
              help="share of texts in another spelling (randomised SMILES)")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
              help="auto takes bf16 where the machine has it")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda")
@click.option("--threads", type=click.IntRange(1), help="torch threads; all CPUs unless given")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--checkpoint-minutes", type=float, default=5.0, show_default=True, help="minutes between checkpoints")
@click.option("--evaluate-epochs", type=int, default=1, show_default=True, help="epochs between evaluations")
@click.option("--evaluate-samples", type=int, default=1000, show_default=True, help="samples an evaluation")
@click.option("--patience", type=int, help="evaluations without a lower held-out loss after which training ends, with "
              "the weights of the lowest; 0: never  [default: 0, or 3 with --from]")
@click.option("--condition", type=float, default=0.0, show_default=True, metavar="WEIGHT",
              help="weight of the share of invalid texts among the model's own beside the nats of a text")
@click.option("--resume", is_flag=True, help="go on from OUT.checkpoint, bit for bit")
@click.option("--quiet", is_flag=True, help="no progress")
def command(domain: str, corpus: str, out: Path, column: str | None, heldout: float, start: str | None,
            width: int | None, depth: int | None, embedding: int | None, dropout: float | None, threads: int | None,
            extend_vocabulary: bool, skip_unknown: bool, condition: float, resume: bool, quiet: bool,
            **training: Any) -> None:
    """Train a prior on CORPUS: a named corpus (see `seqtutor domains`) or a file of your own.

    \b
    Examples:
      seqtutor pretrain molecules wehi10k --epochs 2 --out small.safetensors
      seqtutor pretrain molecules zinc250k --out prior.safetensors       (needs: pip install 'seqtutor[corpora]')
      seqtutor pretrain molecules mine.csv.gz --column smiles --augment 0.5 --out mine.safetensors
      seqtutor pretrain molecules zinc250k --out prior.safetensors --resume
      seqtutor pretrain molecules mine.smi --from molecules --extend-vocabulary --out tuned.safetensors
      torchrun --nproc-per-node 2 -m seqtutor pretrain molecules zinc250k --out prior.safetensors

    With --from the weights are another model's, and training ends before it overfits. In a file of your own every text
    counts: one with tokens that the model lacks is told, not passed over.

    Beside OUT stand OUT.metrics.csv, OUT.loss.png (with matplotlib: pip install 'seqtutor[plots]') and
    OUT.checkpoint, which --resume reads and Ctrl-C writes; delete the checkpoint when you are done.
    """
    plugin = load(domain)
    if out.suffix != ".safetensors":
        raise UsageError(f"--out must end in .safetensors, not {out.name!r}")
    check_writable(out)
    source = plugin.corpus(corpus, column)
    first = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun one tells how it goes
    quiet = quiet or not first

    from seqtutor.corpus import prepare
    from seqtutor.model import ModelConfig, SequenceModel
    from seqtutor.models import find_model
    before = find_model(start) if start else None
    network = SequenceModel.load(before, plugin.name) if before else None
    if network is not None:
        plugin = plugin.with_tokens(network.vocabulary.tokens)
    with Progress(f"reading {source.name}", None, quiet) as progress:
        prepared = prepare(plugin, source, heldout=heldout, progress=progress.update)
        if foreign := prepared.manifest["foreign"]:
            if extend_vocabulary:
                plugin = plugin.with_tokens([*plugin.tokens, *sorted(foreign)])
                prepared = prepare(plugin, source, heldout=heldout, progress=progress.update)
                progress.say(f"new tokens: {' '.join(sorted(foreign))}")
            elif not skip_unknown and corpus not in plugin.corpora:
                raise UsageError(f"{source.name} has tokens that the model lacks: "
                                 + ", ".join(f"{token} (in {count:,})" for token, count in foreign.items())
                                 + "; add them with --extend-vocabulary, or leave such texts out with --skip-unknown")
        m = prepared.manifest
        progress.say(f"{source.name}: {m['rows']:,} rows, {m['left_out']:,} left out, {m['repeated']:,} repeated; "
                     f"{m['train']:,} to train on, {m['heldout']:,} held out")

    from seqtutor.condition import ConditionConfig
    from seqtutor.machine import set_threads
    from seqtutor.pretrain import PretrainConfig, plot_loss, pretrain
    set_threads(threads)
    training = {name: value for name, value in training.items() if value is not None}
    config = PretrainConfig(**(_OWN if before else {}) | training)
    shape: dict[str, Any] = {"width": width, "depth": depth, "embedding": embedding, "dropout": dropout}
    model = dataclasses.replace(network.config if network else ModelConfig(),
                                **{name: value for name, value in shape.items() if value is not None})

    with Progress("training", None, quiet) as progress:
        def report(at: dict[str, Any]) -> None:
            progress.total = at["steps"]
            left = at["seconds"] / at["step"] * (at["steps"] - at["step"])
            progress.update(at["step"], f"loss {at['loss']:.4f} nats/token · "
                            + (f"{at['drawn_valid']:.2%} valid · " if condition else "")
                            + f"about {left / 60:.0f} min left")
            if row := at.get("row"):
                progress.say(f"epoch {row['epoch']}: training {row['train_nats_token']:.4f}, "
                             f"held out {row['heldout_nats_token']:.4f} nats/token, "
                             f"{row['heldout_nats_text']:.3f} nats/text"
                             + (f"; valid {row['valid']:.1%}, unique {row['unique']:.1%}, novel {row['novel']:.1%}"
                                if "valid" in row else ""))

        try:
            pretrain(plugin, prepared, out, model=model, config=config, condition=ConditionConfig(weight=condition),
                     start=before, resume=resume, report=report,
                     command=shlex.join(["seqtutor", *click.get_current_context().obj]))
        except KeyboardInterrupt:
            if Path(f"{out}.checkpoint").exists():
                progress.say("go on from the checkpoint with --resume")
            raise
    if first:
        note = plot_loss(Path(f"{out}.metrics.csv"), Path(f"{out}.loss.png"))
        click.echo(f"wrote {out}" + (f"; {note}" if note else ""), err=True)
