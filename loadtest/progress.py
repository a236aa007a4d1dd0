"""What a person sees while a load test runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

LINE_EVERY_S = 10.0
"""Seconds between two lines where the output is no terminal."""


@dataclass(frozen=True)
class Snapshot:
    """Where a run is.

    Attributes:
        stage: What it is doing.
        share: How far the stage is, from 0 to 1.
        sent: Orders sent so far.
        accepted: Orders accepted so far.
        delivered: Orders at the courier so far.
        queued: Messages in queues on the way to the courier.
        concurrency: Most executions of the delivery function at a time in the last minute, of those
            that have ended.
    """

    stage: str = "waiting"
    share: float = 0.0
    sent: int = 0
    accepted: int = 0
    delivered: int = 0
    queued: int = 0
    concurrency: int = 0

    def columns(self) -> tuple[str, ...]:
        """Return the figures, in the order of the board's columns."""
        figures = (self.sent, self.accepted, self.delivered, self.queued, self.concurrency)
        return tuple(str(figure) for figure in figures)


class Board:
    """One row a run; a live table on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, console: Console, runs: tuple[str, ...]) -> None:
        self._console = console
        self._rows = {run: Snapshot() for run in runs}
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4)
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def row(self, run: str) -> Callable[[Snapshot], None]:
        """Return the function that updates a run's row."""
        return lambda snapshot: self._show(run, snapshot)

    def _show(self, run: str, snapshot: Snapshot) -> None:
        changed = snapshot.stage != self._rows[run].stage
        self._rows[run] = snapshot
        now = time.monotonic()
        if self._console.is_terminal or (not changed and now < self._next_line):
            return
        self._next_line = now + LINE_EVERY_S
        self._console.print(
            f"{run}: {snapshot.stage} {snapshot.share:.0%}, {snapshot.sent} sent, "
            f"{snapshot.delivered} delivered, {snapshot.queued} queued, "
            f"{snapshot.concurrency} concurrent",
            highlight=False,
        )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        table.add_column("")
        table.add_column("", width=20)
        for heading in ("sent", "accepted", "delivered", "queued", "concurrent"):
            table.add_column(heading, justify="right")
        for run, row in self._rows.items():
            bar = ProgressBar(total=1.0, completed=row.share, width=20)
            table.add_row(run, row.stage, bar, *row.columns())
        return table
