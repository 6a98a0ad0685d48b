"""The music domain: what the core needs to know about melodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqtutor.domain import Domain, Grammar
from seqtutor_music import corpus, grammar, tokens
from seqtutor_music.families import families


class MusicDomain(Domain):
    """Melodies as streams of sixteenth steps; see :mod:`seqtutor_music.tokens`."""

    name = "music"
    about = "melodies on a grid of sixteenths, in seven modes and nine metres"
    tokens = tokens.TOKENS
    corpora = {"old-prints": corpus.OLD_PRINTS}

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

    def read_file(self, path: Path, column: str | None = None) -> Iterator[str]:
        yield from corpus.read_abc(path)


DOMAIN = MusicDomain()
