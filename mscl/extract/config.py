"""Optical flow (METHOD 1.1)."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mscl.config.base import PositiveInt, Section
from mscl.video.frame_recipe import FrameRecipe

_Method = Literal["tvl1", "dis", "farneback", "raft_small", "raft_large", "denseflow"]
_PLUGIN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class FlowConfig(Section):
    """Flow fields F_j = flow(frame[gap * j] -> frame[gap * j + span]) and the frames beside them."""

    before: ClassVar[Mapping[str, Any]] = {"raft_bf16": False}

    method: str = "tvl1"
    """tvl1, dis, farneback, raft_small or raft_large; `ptlflow:NAME`, a network of ptlflow; `module:function`, one's
    own. `denseflow` computes nothing: it reads the pictures that denseflow or a like tool has left in `pictures`."""
    weights: str = ""
    """Local weights file of a `ptlflow:` network; handed as `weights` to a function of one's own, where given."""
    preset: Literal["opencv", "accurate", "balanced", "fast"] = "balanced"
    """TV-L1 schedule; the other methods ignore it."""
    backend: str = "auto"
    """TV-L1 backend: auto, cpp, triton, torch, opencv. `auto` takes triton on a GPU and cpp on a CPU, and flow that is
    there already from whichever of these and torch: they part in rounding only."""
    raft_weights: str = ""
    """Local weights file of RAFT; empty: torchvision's own download."""
    raft_updates: PositiveInt = 20
    """RAFT: refinements of each field; more are slower and more accurate."""
    raft_bf16: bool = False
    """RAFT on a GPU in bfloat16: a tenth faster, and fields of RAFT-small move by .03 px on average, .3 px at the most
    hundredth (docs/gpu.md)."""
    pictures: str = ""
    """Method denseflow: folder that holds `<class>/<video>/flow_x_00001.jpg`, `flow_y_00001.jpg`, ...;
    `span_frames` must be the step they were computed with (denseflow's default is 1). The result's key has the folder's
    path and what tells its pictures from others: their names, and parts of three in each folder."""
    pictures_bound_px: float = Field(default=20.0, gt=0)
    """Method denseflow: motion that grey 0 and 255 stand for, denseflow's `-b`."""
    gap_frames: PositiveInt = 2
    """Frames between the starts of two fields."""
    span_frames: PositiveInt = 8
    """Frames that one field spans; the paper's `adjacent`."""
    compute_short_side: int = Field(default=256, ge=16)
    """Flow is computed at this short side; never above the video's own."""
    store_short_side: int = Field(default=128, ge=16)
    """Flow and frames are stored at this short side; never above the video's own."""
    quantiser: Literal["int16_16", "int8_8", "int8_4"] = "int16_16"
    """int16 in 1/16 px, int8 in 1/8 px (clipped at 15.9 px), int8 in 1/4 px (31.75 px)."""
    coding: Literal["packed", "plain"] = "packed"
    """How fields are compressed, without loss: `packed` is a third smaller (with int8 codes as large) and read faster,
    and zarr-python opens it where this package is installed; any Zarr reader opens `plain`."""
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """JPEG quality of the stored frames."""
    segments_per_shard: PositiveInt = 32
    """Segments in one file of the stores, and in one unit of work; a killed run loses no more than the shards in
    work."""

    @property
    def is_plugin(self) -> bool:
        """Whether the method is not ours."""
        return ":" in self.method

    def noted(self) -> dict[str, Any]:
        """The settings as stores and records keep them, without what this method has no use for."""
        return self.key_values(leave_out=() if self.is_plugin else ("weights",))

    def clipped_note(self, clipped: int) -> str:
        """What to say where so many components of vectors are longer than the store holds."""
        from storage.flow_store.quantiser import QUANTISERS

        most, other = (QUANTISERS[name].limit_px for name in (self.quantiser, "int16_16"))
        advice = f"int16_16 holds {other:,.0f} px" if most < other else "check the flow method"
        return (
            f"{clipped:,} components of flow vectors are over {most:,.1f} px, the most that flow.quantiser="
            f"{self.quantiser} holds, and are stored as that: {advice}"
        )

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        if method not in get_args(_Method) and not _PLUGIN.fullmatch(method):
            names = ", ".join(get_args(_Method))
            raise ValueError(f"no flow method is called {method!r}; choose {names}, ptlflow:NAME or module:function")
        return method

    @property
    def recipe(self) -> FrameRecipe:
        """How frames come out of a video with these settings."""
        return FrameRecipe(
            gap_frames=self.gap_frames, span_frames=self.span_frames, computed_px=self.compute_short_side,
            stored_px=self.store_short_side, jpeg_quality=self.jpeg_quality,
        )  # fmt: skip

    @model_validator(mode="after")
    def _store_not_above_compute(self) -> "FlowConfig":
        if self.store_short_side > self.compute_short_side:
            raise ValueError(
                f"store_short_side {self.store_short_side} is larger than compute_short_side "
                f"{self.compute_short_side}; lower the first or raise the second"
            )
        return self
