"""Which trackers are told of a run, and what: settings and lineage, from the records of what it stands on."""

from typing import Any, Self

from pydantic import Field

from mscl.config.base import Section
from mscl.stage.contract import StageRun
from mscl.trackers.named import TENSORBOARD
from storage.record import short_key
from storage.result_folder import made_with
from storage.workspace import Workspace

LOCAL = ".trackers"
"""Of a workspace: what trackers keep on this machine. Hidden, as it is no result."""


class Tracking(Section):
    """Part of a job: its processes open the trackers."""

    trackers: tuple[str, ...] = (TENSORBOARD,)
    stage: str = "training"
    key: str = ""
    part: str = ""
    """Of several trainings of one result: split and seed."""
    encoder: str = ""
    local: str = ""
    settings: dict[str, Any] = Field(default={})
    lineage: dict[str, str] = Field(default={})

    @classmethod
    def of(cls, run: StageRun) -> Self:
        """Of a stage that is about to work."""
        stage, key = run.folder.parent.name, run.folder.name
        workspace = Workspace(run.folder.parents[1])
        found = {ancestor.record.stage: ancestor for ancestor in workspace.lineage(*run.inputs.values())}
        own, _ = made_with(run.folder)
        lineage = {name: result.key for name, result in found.items()} | {stage: key}
        return cls(
            trackers=run.config.runtime.trackers,
            stage=stage,
            key=key,
            encoder=lineage.get("pretrain", ""),
            local=str(workspace.root / LOCAL),
            settings={name: result.record.config for name, result in found.items()} | {stage: own},
            lineage=lineage,
        )

    @property
    def name(self) -> str:
        """What people call the run."""
        return " ".join(part for part in (self.stage, short_key(self.key), self.part) if part)
