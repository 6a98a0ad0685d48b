"""The report of a run as one HTML page: no script, nothing from a network."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
import torch

import seqtutor
from seqtutor.comparison import Profile, as_text
from seqtutor.comparison_page import STYLE, histogram
from seqtutor.domain import Domain, Table
from seqtutor.run import Setup
from seqtutor.tables import cell, shown

WIDE, HIGH = 420, 190  # of a curve, in pixels
SMOOTHED = 40  # a curve is a mean over about this share of the run

_MORE = """
section { margin: 28px 0 } h2 { font-size: 16px; margin: 0 0 8px }
.figures { display: flex; flex-wrap: wrap; gap: 8px 28px; padding: 0; list-style: none }
.figures b { display: block; font-size: 20px; font-weight: 600 }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(184px, 1fr)); gap: 12px }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; padding: 0 0 8px }
figure img { display: block; width: 100%; background: #fff } figcaption { padding: 6px 10px 0; font-size: 12px }
figcaption b { font-size: 14px } figcaption code { display: block; color: var(--grey); overflow-wrap: anywhere }
.curves { display: flex; flex-wrap: wrap; gap: 16px } .curves svg { max-width: 100%; height: auto }
.curves path { fill: none; stroke: var(--c1); stroke-width: 1.6 }
details { margin: 4px 0 } details > details, details > .leaf { margin-left: 24px } summary { cursor: pointer }
summary img, .leaf img { width: 110px; vertical-align: middle; background: #fff; border-radius: 4px; margin: 0 8px }
td.wrap, td code { white-space: pre-wrap; overflow-wrap: anywhere } table.plain th { min-width: 9em }
.wide { overflow-x: auto }
"""


@dataclass(frozen=True)
class Report:
    """What the page shows. ``hits``: the best found, with their columns; ``rows``: metrics.csv; ``profiles``: the prior
    and the policy, or none; ``nearest``: the known text most like each hit, and how alike, or nothing; ``notes``: what
    is left out and why."""

    title: str
    setup: Setup
    hits: Table
    rows: Sequence[Mapping[str, str]]
    profiles: Sequence[Profile] = ()
    nearest: Sequence[tuple[str, float]] = ()
    notes: Sequence[str] = ()


def page(domain: Domain, report: Report) -> str:
    """The whole page."""
    pictures = {text: _picture(domain, text) for text in report.hits.texts}
    parts = [
        _section("", _figures(domain, report)),
        _section(f"The best {len(report.hits.texts)}", _hits(domain, report, pictures)),
        _section("Learning", _curves(report.rows)),
        _section("The policy beside its prior", _properties(domain, report.profiles)),
        _section("What they are built on", _lineages(domain, report.hits)),
        _section("Settings", _settings(report.setup)),
        _section("Versions", _plain({**versions(domain), "made of": report.setup.model,
                                     "its sha256": report.setup.sha256})),
        _section("", "".join(f"<p>{escape(note)}</p>" for note in report.notes)),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width">
<title>{escape(report.title)}</title>
<style>{STYLE}{_MORE}</style>
</head>
<body>
<h1>{escape(report.title)}</h1>
<p>{escape(domain.name)}, tuned by seqtutor {escape(seqtutor.__version__)} towards
{escape(str(report.setup.objective.get("about") or report.setup.objective.get("name", "an objective")))}</p>
{"".join(parts)}
</body>
</html>
"""


def _section(title: str, body: str) -> str:
    return f"<section>{f'<h2>{escape(title)}</h2>' if title else ''}{body}</section>\n" if body else ""


def _picture(domain: Domain, text: str) -> str:
    found = domain.thumbnail(text)
    return "" if found is None else \
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(found).decode("ascii")}">'


def _figures(domain: Domain, report: Report) -> str:
    """What one looks for first."""
    if not report.rows:
        return "<p>No step has been made yet.</p>"
    last = report.rows[-10:]

    def mean(name: str) -> float:
        return float(np.nanmean([float(row[name]) for row in last]))

    said = {"steps": f"{len(report.rows):,} of {report.setup.config.steps:,}",
            f"calls of the {'rules' if report.hits.columns else 'scorer'}": f"{int(report.rows[-1]['calls']):,}",
            "mean reward": f"{mean('reward'):.3f}", "best reward": f"{float(report.rows[-1]['best']):.3f}",
            "KL, nats": f"{mean('kl'):.2f}", "valid": f"{mean('valid'):.1%}", "unique": f"{mean('unique'):.1%}"}
    if (diversity := domain.diversity(report.hits.texts)) is not None:
        said["diversity of the best"] = f"{diversity:.2f}"
    if report.nearest:
        said["new among the best"] = f"{np.mean([alike < 1 for _, alike in report.nearest]):.0%}"
    return "<ul class=figures>" + "".join(f"<li><b>{escape(value)}</b>{escape(name)}" for name, value in said.items()) \
        + "</ul>"


def _hits(domain: Domain, report: Report, pictures: Mapping[str, str]) -> str:
    columns = {name: shown(values) for name, values in report.hits.columns.items() if name != domain.text_column}
    cards = []
    for i, text in enumerate(report.hits.texts):
        lines = [f"{escape(name)} {escape(values[i])}" for name, values in columns.items() if values[i]]
        first, *rest = lines or [""]
        near = ""
        if report.nearest:
            like, alike = report.nearest[i]
            near = f"nearest known {alike:.2f}<code>{escape(like)}</code>"
        cards.append(f"<figure>{pictures[text]}<figcaption><b>{i + 1}. {first}</b><br>{'<br>'.join(rest)}"
                     f"<code>{escape(text)}</code>{near}</figcaption></figure>")
    return f"<div class=hits>{''.join(cards)}</div>" if cards else "<p>Nothing has been found yet.</p>"


def _curves(rows: Sequence[Mapping[str, str]]) -> str:
    if len(rows) < 2:
        return ""
    width = max(1, len(rows) // SMOOTHED)
    box = np.ones(width) / width

    def column(name: str) -> Any:
        return np.convolve([float(row[name]) for row in rows], box, "valid")

    step, reward, kl = column("step"), column("reward"), column("kl").clip(0)
    return "<div class=curves>" + curve(step, reward, "step", "reward") \
        + curve(np.sqrt(kl), reward, "√KL, nats a sequence", "reward") \
        + curve(step, kl, "step", "KL, nats a sequence") + "</div>"


def curve(x: Any, y: Any, across: str, up: str) -> str:
    """An SVG of ``y`` over ``x``, float [n] each; what is not finite is left out."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = np.asarray(x)[good], np.asarray(y)[good]
    if len(x) < 2:
        return ""
    left, bottom, top = 46, HIGH - 30, 10
    spans = [(float(v.min()), float(v.max() - v.min()) or 1.0) for v in (x, y)]
    places = zip(left + (x - spans[0][0]) / spans[0][1] * (WIDE - left - 10),
                 bottom - (y - spans[1][0]) / spans[1][1] * (bottom - top), strict=True)
    ends = [shown([low, low + span]) for low, span in spans]
    return (f'<svg viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
            f'aria-label="{escape(up)} over {escape(across)}">'
            f'<line x1="{left}" y1="{bottom}" x2="{WIDE - 10}" y2="{bottom}"/>'
            f'<line x1="{left}" y1="{top}" x2="{left}" y2="{bottom}"/>'
            f'<path d="M{"L".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>'
            f'<text x="{left}" y="{bottom + 12}">{ends[0][0]}</text>'
            f'<text x="{WIDE - 10}" y="{bottom + 12}" text-anchor="end">{ends[0][1]}</text>'
            f'<text x="{left - 4}" y="{bottom}" text-anchor="end">{ends[1][0]}</text>'
            f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{ends[1][1]}</text>'
            f'<text x="{(left + WIDE) / 2}" y="{HIGH - 4}" text-anchor="middle">{escape(across)}</text>'
            f'<text transform="translate(12 {bottom / 2 + 20}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
            "</svg>")


def _properties(domain: Domain, profiles: Sequence[Profile]) -> str:
    if not profiles:
        return ""
    words = as_text(profiles)
    heads = "".join(f'<th><i class="c{i}"></i>{escape(p.name)}</th>' for i, p in enumerate(profiles))
    rows = []
    for row in words.rows():
        name = row["figure"]
        seen = [p.rules[name] for p in profiles] if name in profiles[0].rules else []
        rows.append(f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(row[p.name])}</td>" for p in profiles)
                    + f"<td>{histogram(seen, [p.name for p in profiles]) if seen else ''}</td></tr>")
    return f"<div class=wide><table><thead><tr><th></th>{heads}<th></th></tr></thead><tbody>{''.join(rows)}" \
           "</tbody></table></div>"


def _lineages(domain: Domain, hits: Table) -> str:
    """The groups of the hits as a tree, those with most members first."""
    paths = [domain.lineage(text) for text in hits.texts]
    return _tree(domain, paths, 0) if any(paths) else ""


def _tree(domain: Domain, paths: Sequence[Sequence[str]], depth: int) -> str:
    groups: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        if len(path) > depth:
            groups.setdefault(path[depth], []).append(path)
    parts: list[str] = []
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        words = f"{_picture(domain, name) if name else ''}{len(members)} × {escape(name) or 'no ring'}"
        inner = _tree(domain, members, depth + 1)
        parts.append(f"<details{' open' if depth == 0 and len(parts) < 5 else ''}><summary>{words}</summary>{inner}"
                     "</details>" if inner else f"<div class=leaf>{words}</div>")
    return "".join(parts)


def _settings(setup: Setup) -> str:
    config = {name: value for name, value in asdict(setup.config).items() if value is not None}
    return _plain({"objective": json.dumps(setup.objective, indent=1, ensure_ascii=False),
                   **({"options": json.dumps(dict(setup.options), ensure_ascii=False)} if setup.options else {}),
                   **({"stop when": setup.stop_when} if setup.stop_when else {}),
                   "settings": ", ".join(f"{name} = {cell(value)}" for name, value in config.items())})


def _plain(rows: Mapping[str, str]) -> str:
    return "<table class=plain>" + "".join(f"<tr><th>{escape(name)}</th><td class=wrap>{escape(value)}</td></tr>"
                                           for name, value in rows.items()) + "</table>"


def versions(domain: Domain) -> dict[str, str]:
    """Of everything that the result depends on."""
    return {"seqtutor": seqtutor.__version__, "Python": platform.python_version(), "torch": str(torch.__version__),
            **{name: value for name, value in domain.versions().items() if name != "standardise"}}
