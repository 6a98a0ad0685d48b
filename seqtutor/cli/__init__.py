"""The command line. Each command is one file here with a click command called ``command``, imported when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from seqtutor import __version__
from seqtutor.domain import SeqtutorError

#: command → its one-line help, kept here so that `seqtutor --help` imports none of them
COMMANDS = {
    "generate": "Generate valid, unique molecules and write them to files.",
    "score": "Score your own molecules by the rules of the domain.",
    "report": "Report on a run: hits, nearest known ones, properties, scaffolds.",
    "compare": "Compare two models: rules, validity, diversity, KL.",
    "tune": "Tune a prior towards an objective, close to what it learnt from data.",
    "pretrain": "Train a prior on a corpus.",
    "domains": "List the installed domains, their rules and corpora.",
    "models": "List the models that can be used, with their figures.",
}

EPILOG = """\b
Run `seqtutor COMMAND --help` for examples and options of a command.
Shell completion: eval "$(_SEQTUTOR_COMPLETE=bash_source seqtutor)"  (or zsh_source, fish_source)
"""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"seqtutor.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from seqtutor.domain import nearest
            raise nearest(args[0], COMMANDS, "command")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seqtutor")
def group() -> None:
    """Molecules and melodies people can use, from a prior learnt from data.

    \b
    Examples:
      seqtutor generate molecules -n 20
      seqtutor generate molecules -n 500 --novel --alerts pains,brenk -o hits.sdf -o hits.html
      seqtutor score molecules mine.smi -o scored.csv
      seqtutor compare molecules molecules my.safetensors -o compared.html
      seqtutor pretrain molecules wehi10k --epochs 2 --out my.safetensors
    """


def main(args: Sequence[str] | None = None) -> None:
    """The entry point: exit codes 0 done, 1 could not finish, 2 wrong use, 130 interrupted; never a traceback."""
    try:
        sys.exit(_run(args))
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _run(args: Sequence[str] | None) -> int:
    try:
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        code = group.main(args=_domain_first(words), prog_name="seqtutor", standalone_mode=False,
                          obj=words)  # as they were given, for provenance
        sys.stdout.flush()
        return code if isinstance(code, int) else 0  # ctx.exit(3) comes back as 3
    except SeqtutorError as error:
        return _say(str(error), error.exit_code)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except BrokenPipeError:
        raise
    except RuntimeError as error:  # torch's way to say that memory is full
        if "memory" not in str(error):
            raise
        return _say(str(error).splitlines()[0], 1)
    except (OSError, MemoryError) as error:
        return _say(str(error) or type(error).__name__, 1)


def _domain_first(words: list[str]) -> list[str]:
    """``--domain SPEC`` anywhere after the command is the same as SPEC right after it."""
    for i, word in enumerate(words):
        if word == "--domain" and 0 < i < len(words) - 1:
            return [words[0], words[i + 1], *words[1:i], *words[i + 2:]]
        if word.startswith("--domain=") and i > 0:
            return [words[0], word.removeprefix("--domain="), *words[1:i], *words[i + 1:]]
    return words


def _say(message: str, code: int) -> int:
    click.echo("seqtutor: " + " ".join(message.split()), err=True)
    return code
