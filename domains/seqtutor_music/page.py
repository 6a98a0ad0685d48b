"""One self-contained HTML page that shows and plays melodies offline: for generated folders and for scored files."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from seqtutor.domain import UsageError
from seqtutor_music import engraving, rules
from seqtutor_music.arrangement import Arrangement
from seqtutor_music.page_parts import PLAYER, STYLE
from seqtutor_music.rule import MelodyFinding

GRAVE, MARK = 20, "#c8452f"  # severity from which a note is marked


def index(arrangements: Sequence[Arrangement], title: str, links: Sequence[Sequence[str]],
          recipe: Mapping[str, Any]) -> str:
    """A page of generated melodies with links to their files and the recipe that makes them again."""
    body = [_section(a, i, rules.findings(a.melody), _links(links[i]), marked=False)
            for i, a in enumerate(arrangements)]
    if recipe:
        body.append(f"<h2>Recipe</h2><pre>{html.escape(json.dumps(recipe, indent=2))}</pre>")
    return _page(title, body, arrangements)


def review(arrangement: Arrangement, findings: Sequence[MelodyFinding], table: Sequence[Sequence[str]],
           notes: Sequence[str]) -> str:
    """A page about one scored melody: the score with its findings marked, the rules as a table, what was assumed."""
    said = "".join(f"<p class=said>{html.escape(note)}</p>" for note in notes)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table)
    head = "<tr><th>rule</th><th>value</th><th>human range</th><th>human mean</th><th>verdict</th></tr>"
    body = [said, _section(arrangement, 0, findings, "", marked=True, heading=False),
            f"<h2>Rules</h2><table>{head}{rows}</table>"]
    return _page(arrangement.melody.title or "Melody", body, [arrangement])


def _links(names: Sequence[str]) -> str:
    return " ".join(f'<a href="{html.escape(name)}">{html.escape(name.rsplit(".", 1)[-1])}</a>' for name in names)


def _section(arrangement: Arrangement, number: int, findings: Sequence[MelodyFinding], links: str,
             marked: bool, heading: bool = True) -> str:
    melody = arrangement.melody
    told = [f for f in findings if f.severity >= (0 if marked else GRAVE)]
    items = "".join(
        f'<li data-melody="{number}" data-step="{f.start}"><b>bar {f.bar}, beat {f.beat:g}</b> {html.escape(f.words)}'
        f'{f" – <i>{html.escape(f.fix)}</i>" if f.fix else ""} <small>{f.rule}, {f.severity:g}</small></li>'
        for f in told)
    details = f"<details{' open' if marked else ''}><summary>{len(told)} findings</summary><ol>{items}</ol></details>"
    about = f"{melody.key.name} · {melody.meter.name} · {melody.bars} bars · {melody.tempo:g} a minute"
    head = f"<h2>{html.escape(melody.title or 'Melody')}</h2>" if heading else ""
    return (f'<section id="melody{number}">{head}<p>'
            f'<button data-play="{number}">▶ play</button> {html.escape(about)} {links}</p>'
            f'<div class=score>{picture(arrangement, number, told if marked else ())}</div>{details}</section>')


def picture(arrangement: Arrangement, number: int, findings: Sequence[MelodyFinding]) -> str:
    """The engraved score as SVG (a piano roll without the extra ``sheet``); note i has the id ``m<number>-n<i>``."""
    starts = {note.start: i for i, note in enumerate(arrangement.melody.notes)}
    colors = {starts[f.start]: MARK for f in findings if f.severity >= GRAVE and f.start in starts}
    try:
        drawn = engraving.svg(arrangement, colors, title=False)
    except UsageError:
        return roll(arrangement, number, colors)
    drawn = drawn[drawn.index("<svg"):]
    return re.sub(r'id="n(\d+)"', rf'id="m{number}-n\1"', drawn)


def roll(arrangement: Arrangement, number: int, colors: Mapping[int, str]) -> str:
    """A small piano roll as SVG, which needs no extra."""
    melody = arrangement.melody
    pitches = [note.pitch for note in melody.notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    lines = "".join(f'<line x1="{x}" x2="{x}" y1="0" y2="{(high - low) * 6}" stroke="#bbb"/>'
                    for x in range(melody.upbeat * 6, melody.length * 6 + 1, melody.meter.steps * 6))
    notes = "".join(f'<g id="m{number}-n{i}"><rect x="{n.start * 6}" y="{(high - n.pitch) * 6}" rx="1" '
                    f'width="{n.duration * 6 - 1}" height="6" fill="{colors.get(i, "#3b6ea5")}"/></g>'
                    for i, n in enumerate(melody.notes))
    return (f'<svg viewBox="0 0 {melody.length * 6 + 1} {(high - low + 1) * 6}" '
            f'preserveAspectRatio="none" height="{(high - low + 1) * 6}">{lines}{notes}</svg>')


def _page(title: str, body: Sequence[str], arrangements: Sequence[Arrangement]) -> str:
    songs = json.dumps([_song(a) for a in arrangements], separators=(",", ":"))
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
            f"<h1>{html.escape(title)}</h1>\n" + "\n".join(body)
            + f"\n<script>const SONGS={songs};\n{PLAYER}</script></body></html>\n")


def _song(arrangement: Arrangement) -> dict[str, Any]:
    """What the player needs: seconds a step, notes and chords as [pitch, start step, steps, velocity]."""
    melody = arrangement.melody
    notes = [[n.pitch, n.start, n.duration, arrangement.velocity(i)] for i, n in enumerate(melody.notes)]
    chords = [[pitch, c.start, c.duration, 45] for c in arrangement.chords for pitch in c.pitches]
    return {"step": round(15 / melody.tempo, 6), "notes": notes, "chords": chords}
