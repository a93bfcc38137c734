"""The pipeline: its stages in order, the loop that runs them, and the repair of their results."""

from mscl.pipeline.made_with import other_settings, reads, reused_from_elsewhere
from mscl.pipeline.run import RunOne, done_so_far, latest_inputs, refuse_early, reused, run_pipeline, run_stage
from mscl.pipeline.stages import BY_NAME, PIPELINE, stage_named, stages_for, stages_until
from mscl.stage.contract import Outcome, Stage, StageRun
from mscl.stage.execute import execute

__all__ = [
    "BY_NAME", "PIPELINE", "RunOne", "Outcome", "Stage", "StageRun", "done_so_far", "execute", "latest_inputs",
    "other_settings", "reads", "refuse_early", "reused", "reused_from_elsewhere", "run_pipeline", "run_stage",
    "stage_named", "stages_for", "stages_until",
]  # fmt: skip
