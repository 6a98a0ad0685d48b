"""The music domain: what the core needs to know about melodies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtutor.domain import Column, Corpus, Domain, Grammar, Request, Table
from seqtutor_music import corpus, domain_rules, grammar, request, tokens
from seqtutor_music.families import families
from seqtutor_music.melody import Melody


class MusicDomain(Domain):
    """Melodies as streams of sixteenth steps; see :mod:`seqtutor_music.tokens`."""

    name = "music"
    about = "melodies on a grid of sixteenths, in seven modes and nine metres"
    examples = (
        "seqtutor generate music --key 'D dorian' --meter 6/8 --bars 16 -o tunes/",
        "seqtutor generate music -n 4 --key Em --chords --humanize --program flute --format midi,wav,png -o tunes/",
        "seqtutor generate music -n 1 --primer riff.mid --bars 8 --strict 0.5 -o more.mid",
        "seqtutor generate music --recipe tunes/recipe.json -o again/",
    )
    text_column = "melody"
    max_length = 1200
    plural = "melodies"
    tokens = tokens.TOKENS
    rules = domain_rules.domain_rules()
    families = (domain_rules.TARGET,)
    columns = (
        Column("meter", "the metre", lambda texts: [text.split(" ")[0] for text in texts]),
        Column("mode", "the mode", lambda texts: [text.split(" ")[1] if " " in text else "" for text in texts]),
        Column("bars", "whole bars", lambda texts: [str(tokens.split(text).count(tokens.BAR)) for text in texts]),
    )
    describe = ("meter", "mode", "bars", "quality")
    guards: Mapping[str, int] = {"quality": 1}
    presets = domain_rules.PRESETS
    options = request.OPTIONS
    corpora: Mapping[str, Corpus] = {"old-prints": corpus.OLD_PRINTS}

    def split(self, text: str) -> list[str]:
        return tokens.split(text)

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts)

    def canonical(self, text: str) -> str | None:
        return None if tokens.why_not(text) else text

    def why_invalid(self, text: str) -> str:
        return tokens.why_not(text)

    def standardise(self, text: str) -> str | None:
        return corpus.standardise(text)

    def split_keys(self, texts: Sequence[str]) -> Sequence[str]:
        """Tune families: tunes that share a run of 16 intervals stay on one side of the split."""
        found = families([[note.pitch for note in tokens.parse(text).notes] for text in texts])
        return [texts[i] for i in found]

    def versions(self) -> dict[str, str]:
        return {"music-corpus": corpus.VERSION}

    def grammar(self, vocabulary: Sequence[str], **options: Any) -> Grammar:
        return grammar.build(tuple(vocabulary), grammar.Form(**options))

    def request(self, outputs: Sequence[Path], seed: int, **options: Any) -> Request:
        """Everything that `seqtutor generate music` can be asked for, checked before the work."""
        from seqtutor_music import delivery

        wanted = request.understand(options, seed)
        delivery.check(wanted, outputs)

        def deliver(table: Table, recipe: Mapping[str, Any]) -> Sequence[Path]:
            return delivery.deliver(wanted, table, outputs, {**recipe, **wanted.recipe()})

        return Request(vars(wanted.form), wanted.prefix, wanted.max_length, wanted.surplus, wanted.choose, deliver,
                       wanted.primer.warnings if wanted.primer else ())

    def given(self, parts: Sequence[str]) -> int:
        """All before the first step: metre and mode, then the upbeat's size or the first bar line and its count."""
        return next((i for i, part in enumerate(parts) if part in tokens.STEPS), len(parts))

    def command(self, name: str) -> Any:
        """`seqtutor score music` reads files that musicians have, and is this domain's own."""
        if name != "score":
            return None
        from seqtutor_music.score_command import command

        return command

    def edits(self, texts: Sequence[str], n: int, rng: random.Random) -> list[str]:
        """Melodies that take some bars from one parent and some from another of the same metre and length."""
        from seqtutor_music.edits import edits

        return edits(texts, n, rng)

    def corpus(self, name: str, column: str | None = None) -> Corpus:
        """A named corpus, or a file or folder of MIDI, MusicXML and ABC."""
        path = Path(name)
        if name not in self.corpora and path.is_dir():
            return corpus.folder_corpus(path)
        return super().corpus(name, column)

    def read_file(self, path: Path, column: str | None = None) -> Iterator[str]:
        yield from corpus.read_user_file(path)

    def melody(self, text: str) -> Melody:
        """The melody of a stream, for Python users."""
        return tokens.parse(text)


DOMAIN = MusicDomain()
