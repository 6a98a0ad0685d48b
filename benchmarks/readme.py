"""Runs the commands that stand in the README's (and the model cards') marks and puts what they print between them.

    python benchmarks/readme.py                       # all blocks of README.md
    python benchmarks/readme.py sampling prior        # those whose command holds one of these words

A block looks like this; nobody types what is in it:

    <!-- $ python benchmarks/sampling.py -->
    …
    <!-- end -->
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- \$ (?P<command>[^\n]+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def fill(path: Path, words: list[str]) -> None:
    """Runs the chosen blocks of ``path`` and writes it once, after all of them have succeeded."""
    def run(block: re.Match[str]) -> str:
        command = block["command"]
        if words and not any(word in command for word in words):
            return block[0]
        print(f"$ {command}", file=sys.stderr)
        arguments = shlex.split(command)
        if arguments[0] == "python":
            arguments[0] = sys.executable
        done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return f"{block[1]}\n{done.stdout.strip()}\n\n{block['end']}"

    path.write_text(BLOCK.sub(run, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    fill(ROOT / "README.md", sys.argv[1:])
