"""Progress for people: bars in a terminal, lines in a log file, an artifact in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as RichBars
from rich.table import Column
from rich.text import Text

from flows.background import submit
from flows.printing import print_line, visible
from mscl.progress import Progress

_LINE_SECONDS = 15.0
_ARTIFACT_SECONDS = 5.0
_ARTIFACT_PERCENT = 0.5
"""At most 200 updates a stage: each costs 80 ms and a row of the database, and stages may take weeks."""


class _RateColumn(ProgressColumn):
    """Units per second, time gone and time to go."""

    def render(self, task: Task) -> Text:
        elapsed = _clock(task.elapsed or 0.0)
        if task.total is None or not task.speed:
            return Text(elapsed, style="dim")
        remaining = _clock(task.time_remaining or 0)
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s  {elapsed} < {remaining}", style="dim")


class _InfoColumn(ProgressColumn):
    """Loss, rates, verdicts: what a narrow terminal cuts first, so that a bar stays one line."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["info"], style="cyan", no_wrap=True, overflow="ellipsis")


class _CountColumn(MofNCompleteColumn):
    """How many of how many; nothing where that is not known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is not None else Text("")


class ConsoleProgress:
    """A live bar where the output is a terminal, else a line at the start and every quarter of a minute.

    A terminal has room for one bar: one that is started ends the other.
    """

    _live: ClassVar[ConsoleProgress | None] = None

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bars: RichBars | None = None
        self._task: Task | None = None
        self._description, self._unit, self._count = "", "", 0
        self._total: int | None = None
        self._info: dict[str, float | str] = {}
        self._started = self._printed = 0.0

    def start(self, description: str, total: int | None, unit: str) -> None:
        end_bar()
        self.done()
        description = visible(description)
        self._description, self._total, self._unit, self._count, self._info = description, total, unit, 0, {}
        self._started = self._printed = time.monotonic()
        if self._console.is_terminal:
            self._bars = RichBars(
                SpinnerColumn(), TextColumn("{task.description}", markup=False),
                BarColumn(24 if self._console.width >= 100 else 10, table_column=Column(no_wrap=True)),
                _CountColumn(table_column=Column(no_wrap=True)),
                _RateColumn(table_column=Column(no_wrap=True)), _InfoColumn(),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bars.start()
            ConsoleProgress._live = self
            self._bars.add_task(description, total=total, unit=unit, info="")
        elif total:
            print_line(self._console, f"  {description}: {total:,} {unit}")

    def advance(self, n: int = 1, **info: float | str) -> None:
        self._count += n
        self._info.update(info)
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], advance=n, info=_shown(self._info))
        elif time.monotonic() - self._printed > _LINE_SECONDS:
            self._printed = time.monotonic()
            rate = self._count / (self._printed - self._started)
            of = f"/{self._total}" if self._total is not None else ""
            eta = f", {_clock((self._total - self._count) / rate)} to go" if self._total and rate else ""
            print_line(
                self._console,
                f"  {self._description}: {self._count}{of} {self._unit}, {rate:.1f}/s{eta} {_shown(self._info)}",
            )

    def say(self, message: str) -> None:
        print_line(self._console, f"  {message}")

    def done(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            ConsoleProgress._live = None


def end_bar() -> None:
    """Take the bar that is in the terminal away, if there is one."""
    if ConsoleProgress._live is not None:
        ConsoleProgress._live.done()


class ArtifactProgress:
    """A progress artifact on the page of the flow run, updated every few seconds, beside the work."""

    def __init__(self, key: str) -> None:
        self._key = f"{key}-progress"
        self._artifact: object | None = None
        self._total: int | None = None
        self._count = 0
        self._updated = self._percent = 0.0

    def start(self, description: str, total: int | None, unit: str) -> None:
        self._total, self._count, self._percent = total, 0, 0.0
        if total:
            self._updated = time.monotonic()
            submit(self._create, f"{description} ({unit})")

    def advance(self, n: int = 1, **info: float | str) -> None:
        self._count += n
        if not self._total or time.monotonic() - self._updated < _ARTIFACT_SECONDS:
            return
        percent = 100.0 * self._count / self._total
        if percent - self._percent >= _ARTIFACT_PERCENT:
            self._updated, self._percent = time.monotonic(), percent
            submit(self._update, percent)

    def say(self, message: str) -> None:
        from prefect.logging import get_run_logger

        get_run_logger().info(message)

    def done(self) -> None:
        if self._total:
            submit(self._update, 100.0 * self._count / self._total)
        self._total = None

    def _create(self, description: str) -> None:
        from prefect.artifacts import create_progress_artifact

        self._artifact = create_progress_artifact(0.0, key=self._key, description=description)

    def _update(self, percent: float) -> None:
        from uuid import UUID

        from prefect.artifacts import update_progress_artifact

        if isinstance(self._artifact, UUID):
            update_progress_artifact(self._artifact, min(percent, 100.0))


class Both:
    """Tells several listeners."""

    def __init__(self, listeners: Sequence[Progress]) -> None:
        self._listeners = listeners

    def start(self, description: str, total: int | None, unit: str) -> None:
        for listener in self._listeners:
            listener.start(description, total, unit)

    def advance(self, n: int = 1, **info: float | str) -> None:
        for listener in self._listeners:
            listener.advance(n, **info)

    def say(self, message: str) -> None:
        for listener in self._listeners:
            listener.say(message)

    def done(self) -> None:
        for listener in self._listeners:
            listener.done()


def _shown(info: dict[str, float | str]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in info.items()
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
