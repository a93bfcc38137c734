"""What is done to a video before an encoder sees it: which frames, how they are stored, which clips are cut of them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mscl.config.base import PositiveInt, Section
from mscl.errors import ConfigError
from mscl.video.config import ClipConfig


class FrameRecipe(Section):
    """How frames came out of a video; `FlowConfig.recipe` makes it of the settings, and only they have defaults."""

    gap_frames: PositiveInt
    """Source frames from one index to the next: index j is frame[gap * j]."""
    span_frames: int = Field(ge=0)
    """Source frames under one flow field. The last `span_frames` begin no field, so no clip shows them; 0: every frame
    is there, for no flow lies beside them."""
    computed_px: PositiveInt
    """Short side at which flow was computed; frames are shrunk to it first."""
    stored_px: PositiveInt
    """Short side of the stored frames."""
    jpeg_quality: int = Field(ge=1, le=100)
    """Of the stored frames."""

    def num_indices(self, num_frames: int) -> int:
        """Frames that are stored of a segment, one beside each field; of a segment too short for a field still one."""
        return max(1, -(-(num_frames - self.span_frames) // self.gap_frames))

    def stride(self, stride_frames: int, *, setting: str) -> int:
        """Source frames from one frame of a clip to the next, in indices.

        Raises:
            ConfigError: no whole number of indices.
        """
        stride, rest = divmod(stride_frames, self.gap_frames)
        if rest or not stride:
            near = max(self.gap_frames, round(stride_frames / self.gap_frames) * self.gap_frames)
            raise ConfigError(
                f"{setting} {stride_frames} is no multiple of {self.gap_frames}: the frame store has every "
                f"{self.gap_frames}th frame (flow.gap_frames); take {near}"
            )
        return stride

    def nearest_stride(self, stride: int, *, gap_frames: int) -> int:
        """A stride of this recipe in a store of another gap, as near as its frames come to it: for pictures."""
        return max(1, round(stride * self.gap_frames / gap_frames))


def short_side_of(crop_px: int) -> int:
    """Short side that frames are resized to before a crop: 8/7 of it, the 128 px beside a 112 px crop."""
    return round(crop_px * 8 / 7)


class EncoderInput(Section):
    """Everything between a video file and the clips that an encoder gets in evaluation (METHOD 1.8)."""

    recipe: FrameRecipe
    max_segment_seconds: float | None = Field(gt=0)
    """A longer video is cut into equal segments, and what is said of it is the mean over them. None: never cut."""
    cuts: Literal["split", "ignore"] = "split"
    """Whether a segment ends where another shot begins, unless videos are never cut."""
    min_segment_frames: PositiveInt | None = None
    """Frames of the shortest segment: a shorter shot is left out. None: as many as a field spans, and one."""
    clip: ClipConfig
    """Length and stride of a clip."""
    clips: PositiveInt
    """Clips per segment, evenly spaced."""
    crop_px: PositiveInt
    """Side of the square crops."""
    crops: Literal[1, 3] = 1
    """Crops of each clip: the centre, or three along the longer side."""
    short_side_px: PositiveInt | None = None
    """What frames are resized to before they are cropped; None: as `short_side_of` the crop."""
    sampling: Literal["clip", "segments"] = "clip"
    """`clip`: frames `clip.stride` indices apart. `segments`: one frame of each of `clip.length` equal parts."""
    of_training: bool = False
    """Said by a training and by no embedding yet: `clips` and `crops` are then the defaults of `embed`."""

    @property
    def resized_px(self) -> int:
        """Short side to which frames are resized before they are cropped."""
        return self.short_side_px or short_side_of(self.crop_px)

    @property
    def least_frames(self) -> int:
        """Frames of the shortest segment."""
        return self.min_segment_frames or self.recipe.span_frames + 1

    def too_short(self, num_frames: Sequence[int]) -> str:
        """What is to be said where segments of so many frames hold no whole clip; empty where all do."""
        spread = self.sampling == "segments"
        needed = self.clip.length if spread else self.clip.span
        short = sum(self.recipe.num_indices(count) < needed for count in num_frames)
        if not short:
            return ""
        what = "show frames several times" if spread else "begin again at the first frame"
        return (
            f"{short} of {len(num_frames)} segments are shorter than a clip, which takes {needed} frames "
            f"{self.recipe.gap_frames} apart: clips of them {what}"
        )

    def described(self, *, trained: bool = False) -> dict[str, str]:
        """Name -> "name value" of every setting; `trained`: of those that training shares, not of how many views."""
        left_out = {"recipe", "clip", "of_training", *(["sampling"] if self.sampling == "clip" else [])}
        segments = {"max_segment_seconds", "cuts", "min_segment_frames"}
        left_out |= {"clips", "crops", *segments} if trained else set()
        left_out |= segments if self.max_segment_seconds is None else set()
        left_out |= {"min_segment_frames"} if self.least_frames == self.recipe.span_frames + 1 else set()
        plain = self.model_dump(exclude=left_out, exclude_none=True)
        parts = [("recipe.", "", self.recipe.model_dump()), ("clip.", "clip.", self.clip.model_dump()), ("", "", plain)]
        return {
            prefix + name: f"{shown}{name} {value}" for prefix, shown, part in parts for name, value in part.items()
        }

    def differing(self, other: "EncoderInput", *, trained: bool = False) -> tuple[str, str]:
        """The settings in which two differ, as each has them; both empty where they are alike."""
        own, others = self.described(trained=trained), other.described(trained=trained)
        names = [name for name in {**own, **others} if own.get(name) != others.get(name)]
        mine, theirs = (", ".join(texts.get(name, f"no {name}") for name in names) for texts in (own, others))
        return mine, theirs

    def __str__(self) -> str:
        return ", ".join(self.described().values())
