"""A whole domain in one file: linear peptides, one letter an amino acid.

Try it from the root of the repository:

    seqtutor domains examples/peptide_domain.py
    printf 'ACDKLLKKL\\nGIGKFLHSAK\\nKWKLFKKIGA\\n' > peptides.txt
    seqtutor pretrain examples/peptide_domain.py peptides.txt --out peptide.safetensors \\
        --width 64 --epochs 300 --evaluate-epochs 100 --heldout 0
    seqtutor generate examples/peptide_domain.py --model peptide.safetensors -n 5
"""

from seqtutor.domain import Domain, Rule, UnknownToken

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
HYDROPATHY = dict(zip("ARNDCQEGHILKMFPSTWYV", (  # Kyte & Doolittle 1982
    1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5, 3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2),
    strict=True))


class Peptides(Domain):
    name = "peptides"
    about = "linear peptides in one-letter code"
    text_column = "peptide"
    tokens = tuple(LETTERS)
    describe = ("gravy", "charge")
    rules = (
        Rule("gravy", "mean Kyte-Doolittle hydropathy", low=-4.5, high=4.5,
             score=lambda batch: [sum(HYDROPATHY[a] for a in t) / len(t) for t in batch]),
        Rule("charge", "net charge at pH 7, histidine counted as neutral",
             score=lambda batch: [float(sum((a in "KR") - (a in "DE") for a in t)) for t in batch]),
    )

    def split(self, text):
        for i, letter in enumerate(text):
            if letter not in LETTERS:
                raise UnknownToken(letter, i, text, self.tokens)
        return list(text)

    def canonical(self, text):
        text = text.strip().upper()
        return text if text and set(text) <= set(LETTERS) else None


DOMAIN = Peptides()
