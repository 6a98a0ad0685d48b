"""Progress on stderr: a bar on a terminal, now and then a line elsewhere, nothing when told to be quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """A context manager around a long job.

        with Progress("sampling", total=1000) as progress:
            progress.update(250, "valid 98.1 %")
    """

    def __init__(self, title: str, total: int | None, quiet: bool = False, every: float = 30.0):
        self.title, self.total, self.every = title, total, every
        self._terminal = sys.stderr.isatty() and not quiet
        self._lines = not self._terminal and not quiet
        self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                            TextColumn("eta"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
                            console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._terminal:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """``done`` of the total so far, with a few words."""
        if self._terminal:
            self._bar.update(self._task, completed=done, note=note)
        elif self._lines and time.monotonic() - self._last > self.every:
            self._last = time.monotonic()
            of = f" of {self.total:,}" if self.total else ""
            print(f"{self.title}: {done:,}{of} {note}".rstrip(), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._terminal:
            self._bar.console.print(text, highlight=False)
        elif self._lines:
            print(text, file=sys.stderr, flush=True)
