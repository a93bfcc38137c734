"""What a report knows of a finished stage: plain data, wherever it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mscl.display.amounts import duration
from storage.result_folder import Result

RESUMED = "resumed"
"""In a record's timings: part of the work was there already, and its time is not in `seconds`."""


@dataclass(frozen=True)
class StageView:
    """A stage result as its record tells it."""

    stage: str
    key: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Stage name -> key of what was read."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds."""
    size_bytes: int = 0
    created_at: str = ""
    """ISO 8601."""
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str = ""

    @property
    def seconds(self) -> float:
        """Time of the whole stage: its `seconds` timing, else the sum of all."""
        if "seconds" in self.timings:
            return self.timings["seconds"]
        return float(sum(self.timings.values()))

    @property
    def took(self) -> str:
        """Its time in words; of a stage that was stopped and went on, or was mended, the least that it was."""
        return f"≥ {duration(self.seconds)}" if RESUMED in self.timings else duration(self.seconds)


Stages = Mapping[str, StageView]
"""Views of one pipeline by the name of their stage, in the order in which it runs."""


def stage_view(result: Result) -> StageView:
    """A finished result as the plain data that figures and the report are made from."""
    record = result.record
    return StageView(
        stage=record.stage, key=record.key, folder=result.folder, config=record.config, inputs=record.inputs,
        metrics=record.metrics, timings=record.timings, size_bytes=record.size,
        created_at=record.created_at.isoformat(timespec="seconds"), versions=record.versions, host=record.host,
    )  # fmt: skip


def by_stage(views: Sequence[StageView], order: Sequence[str] = ()) -> dict[str, StageView]:
    """Stage name -> view, in the order of a pipeline's stages; of several results of one stage the last one given."""
    found = {view.stage: view for view in views}
    known = [name for name in order if name in found]
    return {name: found[name] for name in known + sorted(set(found) - set(known))}


def plain_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts of the metrics that are numbers or words; nested ones have tables of their own."""
    return [
        (name, f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in metrics.items()
        if isinstance(value, int | float | str) and value != ""
    ]
