"""What the decoder may cost, and what a clip is."""

from pydantic import Field

from mscl.config.base import PositiveInt, Section

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in 0..1."""


class DecodeLimits(Section):
    """Limits that turn a hostile or broken file into one verdict instead of a lost run."""

    max_pixels: PositiveInt = 8192 * 8192
    """Largest frame, width times height."""
    max_frames: PositiveInt = 100_000
    """Most frames decoded of one video."""
    max_bytes: PositiveInt = 8 << 30
    """Largest file."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest time one video may take in the decoder."""


class ClipConfig(Section):
    """A training clip: `length` indices, `stride` apart, in units of `gap_frames`."""

    length: PositiveInt = 8
    """Frames of a clip, and fields beside them."""
    stride: PositiveInt = 8
    """Indices from one frame of a clip to the next: with `flow.gap_frames` 2 and stride 8 they lie 16 frames apart."""

    @property
    def span(self) -> int:
        """Indices from the first to the last one read, both included."""
        return (self.length - 1) * self.stride + 1
