"""How good samples are: validity, uniqueness, novelty, and how alike they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seqtutor.domain import Domain


def sample_quality(domain: Domain, samples: Sequence[str], known: Collection[str] = ()) -> dict[str, float]:
    """Shares from 0 to 1 (Polykovskiy et al. 2020, MOSES): ``valid`` of all samples, ``unique`` of the valid ones,
    ``novel`` of the unique ones (canonical form not in ``known``)."""
    canonical = [c for c in map(domain.canonical, samples) if c is not None]
    unique = set(canonical)
    novel = sum(c not in known for c in unique)
    return {
        "valid": len(canonical) / max(1, len(samples)),
        "unique": len(unique) / max(1, len(canonical)),
        "novel": novel / max(1, len(unique)),
    }
