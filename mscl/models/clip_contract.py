"""What a network of another program asks of its clips."""

from typing import Any

from pydantic import model_validator

from mscl.config.base import PositiveInt, Section
from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD, ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe, short_side_of


class Contract(Section):
    """What a network asks of its clips."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of red, green and blue of pictures in 0..1."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Likewise."""
    input: EncoderInput
    """What the videos of its training went through, as far as that is known."""
    frames: tuple[PositiveInt, PositiveInt | None] = (1, None)
    """Fewest and most frames of a clip that it can take."""
    px: tuple[PositiveInt, PositiveInt | None] = (1, None)
    """Smallest and largest side of a clip that it can take."""

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> "Contract":
        if not all(0 <= value <= 1 for value in self.mean) or not all(0 < value <= 1 for value in self.std):
            raise ValueError(
                f"mean {self.mean} and std {self.std} are not those of pictures in 0..1; divide those of 0..255 by 255"
            )
        own = {"frames": self.input.clip.length, "px": self.input.crop_px}
        for name, (least, most) in {"frames": self.frames, "px": self.px}.items():
            if not least <= own[name] <= (most or own[name]):
                raise ValueError(f"its own clips have {own[name]} {name}, and it takes {least} to {most or 'any'}")
        if self.input.resized_px < self.input.crop_px:
            raise ValueError(
                f"crops of {self.input.crop_px} px are larger than the short side of pictures, {self.input.resized_px}"
            )
        return self

    @classmethod
    def of_clips(
        cls, *, length: int, step_frames: int, crop_px: int, short_side_px: int | None = None, **others: Any
    ) -> "Contract":
        """Of whole videos, clips of `length` frames that lie `step_frames` source frames apart.

        Args:
            length: frames of a clip.
            step_frames: source frames from one to the next.
            crop_px: side of the square crops.
            short_side_px: what frames are resized to before they are cropped; None: `short_side_of` the crop.
            others: the fields `mean`, `std`, `frames` and `px`.
        """
        stored_px = short_side_of(crop_px) if short_side_px is None else short_side_px
        recipe = FrameRecipe(
            gap_frames=step_frames, span_frames=0, computed_px=stored_px, stored_px=stored_px, jpeg_quality=90
        )
        known = EncoderInput(
            recipe=recipe, max_segment_seconds=None, clip=ClipConfig(length=length, stride=1), clips=10,
            crop_px=crop_px, short_side_px=short_side_px,
        )  # fmt: skip
        return cls(input=known, **others)
