"""Networks (METHOD 1.5) and the losses between them (METHOD 1.6)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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

    before: ClassVar[Mapping[str, Any]] = {"rotation_role": "both"}

    flow: bool = True
    """Flow stream: losses 2-8. Off: the MoCo baseline, RGB stream and loss 1 only."""
    rotation: bool = True
    """Flow rotation augmentation (FRA): rotated flow is encoded beside plain flow, and `rotation_role` says what for.
    Off: `mscl-no-fra`."""
    rotation_role: Literal["negatives", "both", "hard"] = "both"
    """D26, what rotated flow is for. `negatives`: wrong columns of loss 8 alone, no rotated key is encoded. `both`:
    also a positive of its clip in losses 3, 6 and 7, as released. `hard`: as `negatives`, and the rotated key is one
    more negative of its own clip in losses 2 and 4. `both` is the default: on six fresh sets of directions no role is
    settled ahead of it, and the others are behind it where a background identifies the video (`docs/results`)."""
    local_motion: bool = True
    """Local motion contrastive learning, loss 8. Off: `mscl-no-lmcl`."""
    temperature: float = Field(default=0.07, gt=0)
    """Divides the cosines in every cross-entropy; smaller is sharper."""
    queue_size: PositiveInt = 65536
    """K; divisible by the global batch."""
    queue_decay: float | None = Field(default=None, gt=0, le=1)
    """D10: negatives are scaled by decay ** age; the released code uses 0.99999. None: off."""
    enqueue: Literal["after", "released"] = "after"
    """`after`: all losses see the queues as they stood before the step. `released` (D6): losses 3, 4 and 6 read the
    flow queue after the keys of the batch went in, so that a positive is among their negatives."""

    @property
    def encodes_rotated_query(self) -> bool:
        """Whether any loss reads the query's rotated flow: 3 and 7, or the columns of 8."""
        return self.flow and self.rotation and (self.rotation_role == "both" or self.local_motion)

    @property
    def encodes_rotated_key(self) -> bool:
        """Whether any loss reads the key's rotated flow: 3 and 6, or 2 and 4 as a negative."""
        return self.flow and self.rotation and self.rotation_role in ("both", "hard")

    def chance(self, term: str, *, times: int) -> float:
        """What guessing gives a term of METHOD 1.6, in nats; loss 8 compares `times` moments of a clip."""
        if term == "local_motion":
            return math.log(2 * times if self.encodes_rotated_query else times)
        own = self.encodes_rotated_key and self.rotation_role == "hard" and term in ("flow", "rgb_to_flow")
        return math.log(self.queue_size + 1 + own)
