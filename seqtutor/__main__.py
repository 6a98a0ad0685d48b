"""``python -m seqtutor`` is the command ``seqtutor``."""

from seqtutor.cli import main

if __name__ == "__main__":
    main()
