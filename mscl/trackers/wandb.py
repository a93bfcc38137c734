"""Weights & Biases: kept in the workspace, for `wandb sync`, unless WANDB_MODE=online sends it."""

import os
from collections.abc import Mapping
from pathlib import Path

# Before the import, which reads them: without WANDB_MODE nothing is sent, reports of the library's own errors included.
os.environ.setdefault("WANDB_MODE", "offline")
if os.environ["WANDB_MODE"] != "online":
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from mscl.trackers.tracker import PROJECT, Ending, TrackedRun

_STEP = "step"
_ONLINE = os.environ["WANDB_MODE"] == "online"


class WeightsAndBiases:
    """A run of W&B: its group is the encoder, its type the stage."""

    def __init__(self, run: TrackedRun) -> None:
        place = Path(os.environ.get("WANDB_DIR") or run.local)
        place.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), id=run.id, name=run.name, group=run.encoder or None,
            job_type=run.stage, dir=place, config={**run.settings, "lineage": dict(run.lineage)}, resume="allow",
            reinit="create_new", settings=wandb.Settings(console="off", silent=not _ONLINE),
        )  # fmt: skip
        self._run.define_metric(_STEP, hidden=True)
        self._run.define_metric("*", step_metric=_STEP)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({_STEP: step, **values})

    def add_page(self, path: Path) -> None:
        self._run.log({path.stem: wandb.Html(str(path))})

    def finish(self, ending: Ending) -> None:
        if ending == "stopped":
            self._run.mark_preempting()
        self._run.finish(exit_code=int(ending != "finished"))
