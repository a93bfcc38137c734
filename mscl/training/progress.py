"""Progress of a training: new rows of its `metrics.jsonl`, wherever that is written."""

from collections.abc import Sequence
from pathlib import Path

from mscl.progress import Progress
from storage.json_lines import JsonLinesFollower

METRICS_NAME = "metrics.jsonl"


class MetricsProgress:
    """Turns new rows into progress in steps; a resumed run starts at its first row.

    Args:
        shown: values to show beside the bar, of those that a row has.
    """

    def __init__(self, path: Path, progress: Progress, *, title: str, shown: Sequence[str]) -> None:
        self.progress = progress
        self.title = title
        self.shown = shown
        self.step: int | None = None
        self._lines = JsonLinesFollower(path)

    def look(self) -> None:
        """Read what is new; call it a few times a second."""
        for row in self._lines.new_rows():
            step, total = row.get("step"), row.get("total_steps")
            if not isinstance(step, int) or not isinstance(total, int):
                continue
            if self.step is None:
                self.progress.start(self.title, total, "steps")
                self.step = 0
            if step > self.step:
                self.progress.advance(step - self.step, **{name: row[name] for name in self.shown if name in row})
                self.step = step

    def close(self) -> None:
        """The training is over."""
        self._lines.close()
        if self.step is not None:
            self.progress.done()
