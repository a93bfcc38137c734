"""Motion statistics and the choice of clips (METHOD 1.2)."""

from typing import Literal

from pydantic import Field, model_validator

from mscl.config.base import Section


class MotionConfig(Section):
    """Motion differences d_j of the fields (METHOD 1.2, steps 1-4)."""

    weight: Literal["rgb_map", "motion_map", "attention_map"] = "rgb_map"
    """What a difference d_j is of: `rgb_map`, colours of two neighbouring fields under their attention (the paper's);
    `motion_map`, `attention_map`: the motion boundaries or the attention of one field, no difference (METHOD 1.2.4)."""
    attention: Literal["max", "sum", "none"] = "max"
    """What the smoothed motion boundaries of a field are divided by: their maximum (the paper's) or their sum. `none`:
    colours count alike everywhere (METHOD 1.2.2)."""
    pool: Literal["avg", "max"] = "avg"
    """How the pixels of a difference become one number: mean (the paper's) or maximum."""
    window_px: int | None = Field(default=None, ge=1)
    """Side of the attention window; None: 28 px at 384 rows, scaled with the stored grid."""

    @model_validator(mode="after")
    def _tells_fields_apart(self) -> "MotionConfig":
        if self.weight == "attention_map" and self.attention == "none":
            raise ValueError("weight attention_map with attention none leaves nothing; take attention max or sum")
        if (self.weight, self.attention, self.pool) == ("attention_map", "sum", "avg"):
            raise ValueError(
                "the mean of an attention map that sums to 1 is the same for every field, so rounding would choose the "
                "clips; take attention max, or pool max"
            )
        return self


class ScoreLimits(Section):
    """Thresholds of a segment's motion scores; None: none. px are those of the stored grid (`mscl motion scores`)."""

    mean_px: float | None = None
    """Mean magnitude of flow."""
    peak_px: float | None = None
    """Largest 99th percentile of the magnitude of a field."""
    moving: float | None = None
    """Share of the pixels that move by more than half a px, 0..1."""
    change: float | None = None
    """Mean motion difference d_j (METHOD 1.2)."""
    camera_px: float | None = None
    """Mean magnitude of the affine motion that most of a field follows."""
    object_px: float | None = None
    """Mean magnitude of what is left without that."""


class ScreenConfig(Section):
    """Motion differential sampling: which clip starts are worth training on (METHOD 1.2)."""

    select: Literal["mds", "all"] = "mds"
    """`mds`: starts that score above the median. `all`: every start (ablation `mscl-no-mds`)."""
    released: bool = False
    """Score like the released code (D17): stride 4, clips past the end count missing terms as 0."""
    min_motion_px: float = Field(default=0.05, ge=0)
    """A segment whose 99th percentile of flow magnitude, in px of the stored grid, never exceeds this
    has no motion and is screened out, with the reason (D18)."""
    min: ScoreLimits = ScoreLimits()
    """A segment that scores less is screened out, with the reason."""
    max: ScoreLimits = ScoreLimits()
    """A segment that scores more is screened out, with the reason."""

    @model_validator(mode="after")
    def _leaves_something(self) -> "ScreenConfig":
        for name in ScoreLimits.model_fields:
            least, most = getattr(self.min, name), getattr(self.max, name)
            if least is not None and most is not None and least > most:
                raise ValueError(
                    f"min.{name} {least:g} is above max.{name} {most:g}, which leaves no segment; swap them"
                )
        return self
