"""Networks (METHOD 1.5)."""

from typing import Literal

from pydantic import Field

from mscl.config.base import PositiveInt, Section


class ModelConfig(Section):
    """RGB encoder, flow encoder and neck."""

    backbone: Literal["r18", "r50"] = "r18"
    """r18: r3d_18 + r2d_18. r50: SlowOnly-50 + r2d_50."""
    rgb_width: float = Field(default=1.0, gt=0, le=4)
    """Factor on every width of the RGB encoder; 1 is the paper's."""
    flow_width: float = Field(default=1.0, gt=0, le=16)
    """Factor on every width of the flow encoder, whose paper widths are 16..128."""
    embed_dim: PositiveInt = 128
    """D: clip embedding, and channels of the local features."""
    neck_channels: PositiveInt = 128
