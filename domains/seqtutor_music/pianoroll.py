"""Piano rolls with the broken rules marked (extra ``plots``: matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from seqtutor_music.extras import need
from seqtutor_music.keys import pitch_name
from seqtutor_music.melody import Melody
from seqtutor_music.rule import MelodyFinding

PLAIN, MARKED = "#3b6ea5", "#c8452f"
MILD = 15  # severity from which a finding is drawn


def png(melody: Melody, findings: Sequence[MelodyFinding] = ()) -> bytes:
    """The piano roll as a PNG: notes that a finding begins on are red, with the rule's name above the gravest."""
    need("matplotlib", "plots", "a piano roll")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pitches = [note.pitch for note in melody.notes] or [60]
    low, high = min(pitches) - 3, max(pitches) + 5
    figure = Figure(figsize=(max(8.0, min(24.0, melody.length / 14)), 2.2 + (high - low) * 0.11), dpi=110,
                    layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    told = [f for f in findings if f.severity >= MILD]
    marked = {f.start for f in told}
    for pitch in range(low, high):
        if melody.key.degree(pitch) is None:
            axes.axhspan(pitch - .5, pitch + .5, color="#f1efe9", lw=0)
        elif pitch % 12 == melody.key.pitch_class:
            axes.axhline(pitch, color="#d9b26a", lw=.8, zorder=0)
    for note in melody.notes:
        color = MARKED if note.start in marked else PLAIN
        axes.barh(note.pitch, note.duration * .96, left=note.start, height=.82, color=color, edgecolor="white", lw=.5)
    for bar in range(melody.bars + 1):
        axes.axvline(melody.upbeat + bar * melody.meter.steps, color="#888", lw=.7, zorder=0)
    _label(axes, melody, told, high)
    title = melody.title or "Melody"
    title += "".join(f" · {said}" for said in (melody.key.name, melody.meter.name) if said not in title)
    axes.set(xlim=(0, melody.length), ylim=(low - .5, high + .5), xlabel="bar",
             title=f"{title} · {melody.tempo:g} a minute")
    axes.set_xticks([melody.upbeat + bar * melody.meter.steps for bar in range(melody.bars)],
                    [str(bar + 1) for bar in range(melody.bars)])
    scale = [p for p in range(low, high) if melody.key.degree(p) in (1, 3, 5)]
    axes.set_yticks(scale, [pitch_name(p, melody.key) for p in scale])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _label(axes: object, melody: Melody, findings: Sequence[MelodyFinding], top: int) -> None:
    """The name of the gravest finding of each bar, above its place."""
    gravest: dict[int, MelodyFinding] = {}
    for finding in findings:
        best = gravest.get(finding.bar)
        if best is None or finding.severity > best.severity:
            gravest[finding.bar] = finding
    for i, finding in enumerate(sorted(gravest.values(), key=lambda f: f.start)):
        axes.text(finding.start, top - .4 - 1.3 * (i % 3), finding.rule, fontsize=6.5, color=MARKED)  # type: ignore[attr-defined]
