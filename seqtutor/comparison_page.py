"""The HTML page of a comparison: one file, no script, nothing from a network; a small histogram for each rule."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from seqtutor.comparison import Profile, as_text
from seqtutor.domain import Domain
from seqtutor.tables import cell, shown

WIDTH, HEIGHT = 220, 56  # of a histogram, in pixels
BINS = 32
TAIL = 0.5  # per cent of the values on each side that the first and the last bar gather

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --text: #1c1c1e; --grey: #5f6368; --line: #dfe1e5;
  --c0: #8a8f98; --c1: #1f4fd8 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #17181b; --text: #e6e6ea; --grey: #a2a6ad; --line: #383b41; --c0: #9aa0a9; --c1: #8fb0ff } }
body { margin: 24px auto; max-width: 1000px; padding: 0 16px; background: var(--paper); color: var(--text);
  font: 14px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: break-word }
h1 { font-size: 20px; margin: 0 } p { color: var(--grey) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 600 } tbody th { min-width: 10em }
th small { display: block; font-weight: 400; color: var(--grey); max-width: 26em }
td { white-space: pre } td small { color: var(--grey) }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em }
.c0 { background: var(--c0); fill: var(--c0) } .c1 { background: var(--c1); fill: var(--c1) }
svg { display: block } svg .c0 { fill-opacity: .55 } svg .c1 { fill-opacity: .15; stroke: var(--c1); stroke-width: 1.2 }
svg line { stroke: var(--line) } svg text { fill: var(--grey); font-size: 10px }
"""


def page(domain: Domain, profiles: Sequence[Profile], seed: int) -> str:
    """The whole page for two ``profiles``."""
    words = as_text(profiles)
    about = {rule: domain.rule(rule).about for rule in profiles[0].rules}
    heads = "".join(f'<th><i class="c{i}"></i>{escape(p.name)}</th>' for i, p in enumerate(profiles))
    rows = []
    for row in words.rows():
        name = row["figure"]
        note = f"<small>{escape(about[name])}</small>" if name in about else ""
        cells = "".join(f"<td>{_small(escape(row[p.name]))}</td>" for p in profiles)
        picture = histogram([p.rules[name] for p in profiles], [p.name for p in profiles]) if name in about else ""
        rows.append(f"<tr><th>{escape(name)}{note}</th>{cells}<td>{picture}</td></tr>")
    title = escape(" and ".join(p.name for p in profiles))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{escape(domain.name)}: {title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(domain.name)}: {title}</h1>
<p>{profiles[0].n:,} samples of each, seed {seed}. Rules, over valid samples: mean ± standard deviation, then the 5th,
50th and 95th percentile. Other numbers after ± are standard errors. The KL is that to {escape(profiles[0].name)},
exact over the vocabulary at every token; “sampled” is its plain estimate.</p>
<table>
<thead><tr><th></th>{heads}<th></th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
</body>
</html>
"""


def _small(text: str) -> str:
    """Percentiles on a line of their own."""
    head, bracket, rest = text.partition("  (")
    return f"{head}\n<small>{rest.removesuffix(')')}</small>" if bracket else head


def edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bin edges for ``values``: one bin a whole number where there are few of these, otherwise :data:`BINS`."""
    low, high = np.percentile(values, (TAIL, 100 - TAIL)).tolist()
    if np.equal(values, np.round(values)).all() and round(high) - round(low) < BINS:
        return np.arange(round(low), round(high) + 2) - 0.5
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def histogram(columns: Sequence[NDArray[np.float64]], names: Sequence[str]) -> str:
    """An SVG of the shares of each column in each bin, the second over the first; empty if there are no values."""
    everything = np.concatenate(columns)
    if not len(everything):
        return ""
    bins = edges(everything)
    shares = [np.histogram(np.clip(values, bins[0], bins[-1]), bins)[0] / max(1, len(values)) for values in columns]
    top = max(share.max() for share in shares)
    step, base = WIDTH / (len(bins) - 1), HEIGHT - 12
    outlines = []
    for i, (share, name) in enumerate(zip(shares, names, strict=True)):
        stairs = "".join(f"V{base - value / top * (base - 2):.1f}H{k * step:.1f}" for k, value in enumerate(share, 1))
        outlines.append(f'<path class="c{i}" d="M0,{base}{stairs}V{base}z"><title>{escape(name)}</title></path>')
    whole = (bins[1] - bins[0] == 1) and bins[0] % 1 == 0.5
    low, high = (cell(bins[0] + 0.5), cell(bins[-1] - 0.5)) if whole else shown([bins[0], bins[-1]])
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(outlines)}'
            f'<line x1="0" y1="{base}" x2="{WIDTH}" y2="{base}"/><text x="0" y="{HEIGHT - 2}">{low}</text>'
            f'<text x="{WIDTH}" y="{HEIGHT - 2}" text-anchor="end">{high}</text></svg>')
