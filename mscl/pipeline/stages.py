"""The stages of the pipeline: who belongs to it and in which order they run is said here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from mscl.embedding.stage import EMBED
from mscl.errors import UserError
from mscl.extract.stage import EXTRACT
from mscl.finetune.stage import FINETUNE
from mscl.ingest.stage import INGEST
from mscl.motion.motion_stage import MOTION
from mscl.motion.screen_stage import SCREEN
from mscl.pretrain.stage import PRETRAIN
from mscl.report.stage import report_stage
from mscl.score.stages import PROBE, RETRIEVE
from mscl.stage.contract import Stage

_REPORTED = (
    INGEST,
    EXTRACT,
    MOTION,
    SCREEN,
    PRETRAIN,
    EMBED,
    PROBE,
    RETRIEVE,
    FINETUNE,
)
PIPELINE: tuple[Stage, ...] = (*_REPORTED, report_stage(_REPORTED))
BY_NAME = {stage.name: stage for stage in PIPELINE}


def stage_named(name: str) -> Stage:
    """The stage of that name; UserError lists what there is."""
    if name not in BY_NAME:
        near = get_close_matches(name.casefold(), BY_NAME, n=1)
        hint = f"did you mean {near[0]!r}? Stages" if near else "stages"
        raise UserError(f"unknown stage {name!r}; {hint}: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def stages_for(*names: str) -> tuple[Stage, ...]:
    """The stages that make these results: those named and all that they read, in the order of the pipeline."""
    wanted: set[str] = set()
    for stage in reversed(PIPELINE):
        if stage.name in names or stage.name in wanted:
            wanted |= {stage.name, *stage.needs}
    return tuple(stage for stage in PIPELINE if stage.name in wanted)


def stages_until(until: str, *, force: Sequence[str] = ()) -> tuple[Stage, ...]:
    """The stages of a run that ends with `until`, "": of the whole pipeline.

    Raises:
        UserError: no such stage; `force` names one that such a run does not have, and would do nothing.
    """
    stages = stages_for(stage_named(until).name) if until else PIPELINE
    for name in force:
        if stage_named(name) not in stages:
            raise UserError(f"force names {name}, which is no part of a run until {until}; leave one of the two out")
    return stages
