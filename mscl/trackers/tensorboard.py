"""TensorBoard: events beside the training's other files, read with `tensorboard --logdir workspace`."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from mscl.trackers.tracker import TENSORBOARD_FOLDER, Ending, TrackedRun


class TensorBoard:
    """Curves, and settings and lineage as texts; it has no place for a page."""

    def __init__(self, run: TrackedRun) -> None:
        self._events = SummaryWriter(str(run.folder / TENSORBOARD_FOLDER), purge_step=run.first_step + 1)
        for title, values in (("settings", run.flat_settings()), ("lineage", run.lineage)):
            if values and not run.first_step:
                rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
                self._events.add_text(title, f"| | |\n|---|---|\n{rows}")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self._events.add_scalar(tag, value, step)
        # By itself it writes every two minutes: a kill took them, and what a checkpoint holds is not told again.
        self._events.flush()

    def add_page(self, path: Path) -> None:
        """Its place is told, as a text."""
        self._events.add_text("report", str(path))

    def finish(self, ending: Ending) -> None:
        self._events.close()
