"""SMILES to tokens, atom by atom, and the alphabet of the shipped prior."""

from __future__ import annotations

import re

from seqtutor.domain import UnknownToken

# A bracket atom, a two-letter element, a two-digit ring closure or a dative bond is one token.
_TOKEN = re.compile(r"\[[^\[\]]+\]|Br|Cl|%\d\d|%\(\d+\)|->|<-|[BCNOPSFIbcnops]|[-=#$:~/\\.()*]|\d")

#: What standardised ZINC250k is written in: neutral, no stereo, [nH] the only bracket atom.
TOKENS = ("#", "(", ")", "-", "1", "2", "3", "4", "5", "6", "=", "Br", "C", "Cl", "F", "N", "O", "S", "[nH]", "c", "n",
          "o", "s")

#: The longest standardised molecule, in tokens.
LONGEST = 70


def split(smiles: str) -> list[str]:
    """Tokens of ``smiles``; raises :class:`UnknownToken` at the first character that no SMILES token begins with."""
    tokens = _TOKEN.findall(smiles)
    if sum(map(len, tokens)) == len(smiles):
        return tokens
    position = 0
    while match := _TOKEN.match(smiles, position):
        position = match.end()
    raise UnknownToken(smiles[position], position, smiles, TOKENS)
