"""What the rules say about a melody out of a user's file: values beside human habit, findings by bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtutor.domain import SeqtutorError
from seqtutor_music import page, rules
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.keys import Key
from seqtutor_music.melody import Melody
from seqtutor_music.meter import Meter
from seqtutor_music.note_table import NoteTable
from seqtutor_music.reading import read_melodies
from seqtutor_music.rule import MelodyFinding


@dataclass(frozen=True)
class Review:
    """``values``: of each rule, 0…1, nan where it has no say; ``quality``: of all together, 0…1."""

    file: str
    melody: Melody
    warnings: tuple[str, ...]
    values: dict[str, float]
    quality: float
    findings: tuple[MelodyFinding, ...]

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """(rule, value, human range, human mean, verdict) of each rule that has a say, as people read it."""
        rows = []
        rates = rules.human_rates()
        for name, value in self.values.items():
            if not math.isnan(value):
                rate = rates.get(name)
                span = f"{rate.low:.0%}–{rate.high:.0%}" if rate else ""
                rows.append((name, f"{value:.0%}", span, f"{rate.mean:.0%}" if rate else "",
                             rules.verdict(name, value)))
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; values that a rule has no say in are null."""
        melody, rates = self.melody, rules.human_rates()
        return {
            "file": self.file, "title": melody.title, "key": melody.key.name, "meter": melody.meter.name,
            "bars": melody.bars, "notes": len(melody.notes), "tempo": melody.tempo, "quality": round(self.quality, 6),
            "warnings": list(self.warnings),
            "rules": [{"rule": name, "value": None if math.isnan(value) else round(value, 6),
                       "human_low": rates[name].low if name in rates else None,
                       "human_high": rates[name].high if name in rates else None,
                       "human_mean": rates[name].mean if name in rates else None,
                       "verdict": rules.verdict(name, value)} for name, value in self.values.items()],
            "findings": [{"rule": f.rule, "bar": f.bar, "beat": f.beat, "notes": list(f.notes),
                          "severity": f.severity, "words": f.words, "fix": f.fix} for f in self.findings],
        }

    def as_text(self) -> str:
        """For people: a head, the table of rules, the findings by bar."""
        melody = self.melody
        lines = [f"{self.file}: {melody.title or 'melody'} – {melody.key.name}, {melody.meter.name}, "
                 f"{melody.bars} bars, {len(melody.notes)} notes; quality {self.quality:.3f}", ""]
        rows = [("rule", "value", "human range", "human mean", "verdict"), *self.table()]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                  for row in rows]
        lines.append("")
        for finding in self.findings:
            fix = f"; {finding.fix}" if finding.fix else ""
            lines.append(f"bar {finding.bar}, beat {finding.beat:g}: {finding.words}{fix} "
                         f"[{finding.rule}, {finding.severity:g}]")
        return "\n".join([*lines, f"{len(self.findings)} findings" if self.findings else "no findings"])

    def as_html(self) -> str:
        """A page with the score, its findings marked, playable."""
        return page.review(Arrangement(self.melody), self.findings, self.table(), self.warnings)


def review(melody: Melody, file: str = "", warnings: Sequence[str] = ()) -> Review:
    """Judges one melody by all rules."""
    table = NoteTable([melody])
    values = {rule.name: float(rule.values(table)[0]) for rule in rules.RULES}
    return Review(file, melody, tuple(warnings), values, float(rules.quality([melody])[0]), rules.findings(melody))


def review_file(path: Path, *, track: str | None = None, key: Key | None = None,
                meter: Meter | None = None) -> list[Review]:
    """Judges every melody in a file. Raises SeqtutorError in one line that names the file."""
    found = read_melodies(path, track=track, key=key, meter=meter)
    if not found:
        raise SeqtutorError(f"{path}: no melody in it")
    several = len(found) > 1
    return [review(imported.melody, f"{path}#{i}" if several else str(path), imported.warnings)
            for i, imported in enumerate(found, 1)]
