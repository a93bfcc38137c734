"""Progress for people: bars in a terminal, lines in a log file, an artifact in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import Logger, LoggerAdapter
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as RichBars
from rich.table import Column
from rich.text import Text

from flows.background import submit
from flows.printing import print_line, visible
from mscl.progress import Progress

Log = Logger | LoggerAdapter[Any]
_LINE_SECONDS = 15.0
_LOG_SECONDS = 180.0
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


@dataclass
class _Piece:
    """A piece of work, and how far it is."""

    description: str = ""
    total: int | None = None
    unit: str = ""
    count: int = 0
    info: dict[str, float | str] = field(default_factory=dict)
    started: float = 0.0

    def advance(self, n: int, info: Mapping[str, float | str]) -> None:
        self.count += n
        self.info.update(info)

    def line(self, now: float) -> str:
        """How far it is, how fast it goes and how long it will take; of what is not counted how long it took."""
        if not self.unit:
            return f"{self.description}: {_clock(now - self.started)} so far"
        rate = self.count / (now - self.started)
        of = f"/{self.total}" if self.total is not None else ""
        eta = f", {_clock((self.total - self.count) / rate)} to go" if self.total and rate else ""
        return f"{self.description}: {self.count}{of} {self.unit}, {rate:.1f}/s{eta} {_shown(self.info)}".rstrip()


class ConsoleProgress:
    """A live bar where the output is a terminal, else a line at the start and every quarter of a minute.

    A terminal has room for one bar: one that is started ends the other.
    """

    _live: ClassVar[ConsoleProgress | None] = None

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bars: RichBars | None = None
        self._piece = _Piece()
        self._printed = 0.0

    def start(self, description: str, total: int | None, unit: str) -> None:
        end_bar()
        self.done()
        description = visible(description)
        self._piece = _Piece(description, total, unit, started=time.monotonic())
        self._printed = self._piece.started
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
        self._piece.advance(n, info)
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], advance=n, info=_shown(self._piece.info))
        elif time.monotonic() - self._printed > _LINE_SECONDS:
            self._printed = time.monotonic()
            print_line(self._console, f"  {self._piece.line(self._printed)}")

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


class LogProgress:
    """Lines in the run's log, on its page: what a stage says, and every few minutes how far it is."""

    def __init__(self, logger: Log) -> None:
        self._logger = logger
        self._piece = _Piece()
        self._told = 0.0

    def start(self, description: str, total: int | None, unit: str) -> None:
        self._piece = _Piece(description, total, unit, started=time.monotonic())
        self._told = self._piece.started
        if total:
            self._logger.info(f"{description}: {total} {unit}")

    def advance(self, n: int = 1, **info: float | str) -> None:
        self._piece.advance(n, info)
        if time.monotonic() - self._told > _LOG_SECONDS:
            self._told = time.monotonic()
            self._logger.info(self._piece.line(self._told))

    def say(self, message: str) -> None:
        self._logger.info(message)

    def done(self) -> None: ...


class ArtifactProgress:
    """A progress artifact on the page of the flow run, updated every few seconds, beside the work.

    What ends within seconds has none. It ends at 100 %, or says why not.
    """

    def __init__(self, key: str) -> None:
        self._key = f"{key}-progress"
        self._artifact: object | None = None
        self._description = ""
        self._total: int | None = None
        self._count = 0
        self._updated = self._percent = 0.0
        self._is_shown = False

    def start(self, description: str, total: int | None, unit: str) -> None:
        self.done()
        self._total, self._count, self._percent = total, 0, 0.0
        self._description, self._updated, self._is_shown = f"{description} ({unit})", time.monotonic(), False

    def advance(self, n: int = 1, **info: float | str) -> None:
        self._count += n
        if not self._total or time.monotonic() - self._updated < _ARTIFACT_SECONDS:
            return
        percent = 100.0 * self._count / self._total
        if percent - self._percent >= _ARTIFACT_PERCENT:
            self._updated, self._percent = time.monotonic(), percent
            submit(self._update if self._is_shown else self._create, percent, self._description)
            self._is_shown = True

    def say(self, message: str) -> None: ...

    def done(self) -> None:
        """The piece of work is done: 100 %, whatever an earlier run had done of it."""
        self._end(100.0, self._description)

    def fail(self, reason: str) -> None:
        """The piece of work has ended before its end."""
        self._end(self._percent, f"{self._description}: {reason.splitlines()[0] if reason else 'stopped'}")

    def _end(self, percent: float, description: str) -> None:
        if self._is_shown:
            submit(self._update, percent, description)
        self._total, self._is_shown = None, False

    def _create(self, percent: float, description: str) -> None:
        from prefect.artifacts import create_progress_artifact

        self._artifact = create_progress_artifact(min(percent, 100.0), key=self._key, description=description)

    def _update(self, percent: float, description: str) -> None:
        from uuid import UUID

        from prefect.artifacts import update_progress_artifact

        if isinstance(self._artifact, UUID):
            update_progress_artifact(self._artifact, min(percent, 100.0), description=description)


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


def _shown(info: Mapping[str, float | str]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in info.items()
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
