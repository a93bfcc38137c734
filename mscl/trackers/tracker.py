"""What a tracker is: the protocol that TensorBoard, W&B, MLflow, trackio and one's own have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mscl.config.trees import joined

Ending = Literal["finished", "stopped", "failed"]
"""How a run ended; one that was stopped goes on later, under the same id."""

PROJECT = "mscl"
"""What W&B and trackio call a project, and MLflow an experiment, where its own environment variable names none."""

TENSORBOARD_FOLDER = "tensorboard"
"""Of TensorBoard's events, in the folder of a training."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it is opened: a training, or the report of a pipeline."""

    id: str
    """Nobody else's, and the same when the run goes on after a stop."""
    name: str
    """For people: stage, key, and which split and seed."""
    stage: str
    folder: Path
    """Of the training; TensorBoard's events lie in it."""
    local: Path
    """Of the whole workspace, for what a tracker keeps on this machine; may not be there yet."""
    encoder: str = ""
    """Key of the pre-training that all of one encoder's runs belong to; empty: none."""
    first_step: int = 0
    """Steps that were done when it goes on; what was told past them is told again."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Stage -> the settings that decided its result, as its record has them."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """Stage -> key of the result that the run stands on, its own included."""

    def flat_settings(self) -> dict[str, Any]:
        """`settings` by dotted names, such as `extract.flow.method`."""
        return joined(self.settings)


class Tracker(Protocol):
    """One run at one tracker. All calls come from one thread; what they raise ends the tracking, not the run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step, by tags such as `loss/total`; steps never go back."""

    def add_page(self, path: Path) -> None:
        """The report: an HTML page that needs no network."""

    def finish(self, ending: Ending) -> None:
        """Everything was told; returns when it is kept."""
