"""The report for trackers: a run of its own, with the scores of all stages and the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mscl.config.trees import joined
from mscl.stage.contract import StageRun
from mscl.trackers.couriers import Couriers
from mscl.trackers.named import TENSORBOARD
from mscl.trackers.tracking import Tracking


def tell_trackers(run: StageRun, page: Path) -> None:
    """Tell all but TensorBoard, which reads the trainings' folders and has no place for a page."""
    tracking = Tracking.of(run)
    names = tuple(name for name in tracking.trackers if name != TENSORBOARD)
    if not names:
        return
    couriers = Couriers(tracking.model_copy(update={"trackers": names}), run.folder, warn=run.progress.say)
    couriers.note(
        0,
        {
            f"{name}/{tag}": value
            for name, one in run.inputs.items()
            for tag, value in numbers(one.record.metrics).items()
        },
    )
    couriers.add_page(page)
    couriers.close("finished")


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record's metrics, by their joined names."""
    return {
        tag: float(value)
        for tag, value in joined(metrics, between="/").items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
