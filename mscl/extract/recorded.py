"""How the frames of a finished run came out of its videos: what its records say, not today's settings."""

from collections.abc import Mapping
from typing import Any

from mscl.extract.config import FlowConfig
from mscl.video.frame_recipe import FrameRecipe
from storage.result_folder import Result


def recorded_frames(results: Mapping[str, Result]) -> tuple[FrameRecipe, dict[str, Any]]:
    """The recipe of the extract result; and what segments are, by the ingest result, as `EncoderInput` calls it."""
    flow = FlowConfig.model_validate(results["extract"].record.config["flow"])
    ingest = results["ingest"].record.config
    segments = {
        "max_segment_seconds": float(ingest["data"]["max_segment_seconds"]),
        "cuts": ingest["data"].get("cuts", "ignore"),  # of records from before there were any
        "min_segment_frames": flow.span_frames + 1,
    }
    return flow.recipe, segments
