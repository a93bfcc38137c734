"""Networks (METHOD 1.5) and the losses between them (METHOD 1.6)."""

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
    """D: channels of the clip embedding, which queues hold and losses 1 to 7 compare."""
    neck_channels: PositiveInt = 128
    """Channels of the motion neck and of the local features that loss 8 compares."""


class LossConfig(Section):
    """The eight cross-entropies of METHOD 1.6 and their queues."""

    flow: bool = True
    """Flow stream: losses 2-8. Off: the MoCo baseline, RGB stream and loss 1 only."""
    rotation: bool = True
    """Flow rotation augmentation: losses 3, 6, 7 and the rotated columns of loss 8. Off: `mscl-no-fra`."""
    local_motion: bool = True
    """Local motion contrastive learning, loss 8. Off: `mscl-no-lmcl`."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides the cosines in every cross-entropy; smaller is sharper."""
    queue_size: PositiveInt = 65536
    """K; divisible by the global batch."""
    queue_decay: float | None = Field(default=None, gt=0, le=1)
    """D10: negatives are scaled by decay ** age; the released code uses 0.99999. None: off."""
    enqueue: Literal["after", "released"] = "after"
    """`after`: all losses see the queues as they stood before the step. `released` (D6): the rotated
    pass sees the keys of its own batch among the negatives."""
