"""`EncoderInput` for tests: small, and whole where nothing is said."""

from typing import Any

from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe

_RECIPE = {"gap_frames": 1, "span_frames": 1, "computed_px": 256, "stored_px": 128, "jpeg_quality": 90}


def encoder_input(*, length: int = 4, stride: int = 1, **changes: Any) -> EncoderInput:
    """One clip of 24 px of an uncut video, whose light may change; `changes` name settings of it or of its recipe."""
    recipe = {name: changes.pop(name, value) for name, value in _RECIPE.items()}
    whole = {
        "max_segment_seconds": None, "clip": ClipConfig(length=length, stride=stride), "clips": 1, "crop_px": 24,
        "cuts": "ignore",
    }  # fmt: skip
    return EncoderInput.model_validate(whole | changes | {"recipe": FrameRecipe.model_validate(recipe)})
