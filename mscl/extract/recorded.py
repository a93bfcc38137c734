"""How the frames of a finished run came out of its videos: what its records say, not today's settings."""

from collections.abc import Mapping

from mscl.extract.config import FlowConfig
from mscl.video.frame_recipe import FrameRecipe
from storage.workspace import Result


def recorded_frames(results: Mapping[str, Result]) -> tuple[FrameRecipe, float]:
    """The recipe of the extract result, and the longest segment in seconds of the ingest result."""
    flow = FlowConfig.model_validate(results["extract"].record.config["flow"])
    return flow.recipe, float(results["ingest"].record.config["data"]["max_segment_seconds"])
