"""How long work tells what it does, without knowing who listens (console, Prefect, nobody)."""

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of one stage."""

    def start(self, description: str, total: int | None, unit: str) -> None:
        """Begin a piece of work of `total` units (None: not known)."""

    def advance(self, n: int = 1, **info: float | str) -> None:
        """`n` more units are done; `info` is shown beside the bar (loss, rate, verdicts)."""

    def say(self, message: str) -> None:
        """A line for the user that stays."""

    def done(self) -> None:
        """The piece of work that `start` began is finished."""


class Silent:
    """Progress that nobody watches."""

    def start(self, description: str, total: int | None, unit: str) -> None: ...
    def advance(self, n: int = 1, **info: float | str) -> None: ...
    def say(self, message: str) -> None: ...
    def done(self) -> None: ...
