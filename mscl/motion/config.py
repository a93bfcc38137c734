"""Motion statistics and the choice of clips (METHOD 1.2)."""

from typing import Literal

from pydantic import Field

from mscl.config.base import Section


class MotionConfig(Section):
    """Motion differences d_j of the fields (METHOD 1.2, steps 1-4)."""

    weight: Literal["rgb_map", "motion_map", "attention_map"] = "rgb_map"
    attention: Literal["max", "sum", "none"] = "max"
    pool: Literal["avg", "max"] = "avg"
    window_px: int | None = Field(default=None, ge=1)
    """Side of the attention window; None: 28 px at 384 rows, scaled with the stored grid."""


class ScreenConfig(Section):
    """Motion differential sampling: which clip starts are worth training on (METHOD 1.2)."""

    select: Literal["mds", "all"] = "mds"
    """`mds`: starts that score above the median. `all`: every start (ablation `mscl-no-mds`)."""
    released: bool = False
    """Score like the released code (D17): stride 4, clips past the end count missing terms as 0."""
    min_motion_px: float = Field(default=0.05, ge=0)
    """A segment whose 99th percentile of flow magnitude, in px of the stored grid, never exceeds this
    has no motion and is screened out, with the reason (D18)."""
