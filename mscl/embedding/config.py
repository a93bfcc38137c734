"""Features of videos (METHOD 1.8)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from mscl.config.base import PositiveInt, Section
from mscl.training.config import Precision
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe


class EmbedConfig(Section):
    """Features of every segment: L4 global average, averaged over the clips of a video."""

    before: ClassVar[Mapping[str, Any]] = {"precision": "auto", "stride_frames": 0, "tokens": False}

    clips: PositiveInt = 10
    """Clips per video, evenly spaced."""
    crop_px: PositiveInt = 112
    """Centre crop; smaller videos are enlarged to it."""
    crops: Literal[1, 3] = 1
    """Crops of each clip: the centre, or three along the longer side. Features are averaged over clips and crops."""
    stride_frames: int = Field(default=0, ge=0)
    """Source frames from one frame of a clip to the next, a multiple of `flow.gap_frames`; 0: as in the training,
    `clip.stride` times `flow.gap_frames`."""
    batch_size: PositiveInt = 32
    """Clips and crops in one forward pass, those of a video together. Changes speed and memory."""
    precision: Precision = "auto"
    """auto: on CUDA autocast to bf16, or fp16 on cards without it; fp32 on CPU."""
    tokens: bool = False
    """Also keep the tokens of every clip and crop, what its feature is the mean of, for `probe.head=attentive`: 16-bit
    floats, 49 times a feature for r18 at 112 px."""
    controls: bool = True
    """Also embed with the untrained encoder, and clips that repeat the first, middle or last frame or have their frames
    in random order: the controls that a result needs."""

    @property
    def videos_at_once(self) -> int:
        """How many videos, with all their clips and crops, go through one forward pass."""
        return max(1, self.batch_size // (self.clips * self.crops))

    def clip(self, trained: ClipConfig, recipe: FrameRecipe) -> ClipConfig:
        """The clips that are embedded.

        Raises:
            ConfigError: a stride that the frame store does not have.
        """
        if not self.stride_frames:
            return trained
        return trained.model_copy(update={"stride": recipe.stride(self.stride_frames, setting="embed.stride_frames")})

    def encoder_input(self, recipe: FrameRecipe, clip: ClipConfig, **segments: Any) -> EncoderInput:
        """What a video goes through to be embedded with these settings; `segments`: as `recorded_frames` gives them."""
        return EncoderInput(
            recipe=recipe, **segments, clip=clip, clips=self.clips, crop_px=self.crop_px,
            crops=self.crops,
        )  # fmt: skip
