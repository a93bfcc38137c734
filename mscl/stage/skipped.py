"""A stage that could not do its work, or was not asked to, is finished all the same, and its record says why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_NAME = "skipped"


@dataclass(frozen=True)
class Skipped:
    """Why a stage has no result but its record."""

    reason: str

    def as_record(self) -> dict[str, Any]:
        """Metrics of the record."""
        return {_NAME: self.reason}

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | None:
        """What `as_record` wrote; None where the stage did its work."""
        return cls(str(metrics[_NAME])) if _NAME in metrics else None
