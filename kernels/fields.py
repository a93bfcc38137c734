"""How many fields of flow a sequence of frames has (METHOD 1.1). Needs no PyTorch."""

import math

from kernels.errors import KernelInputError


def num_fields(num_frames: int, *, gap_frames: int = 2, span_frames: int = 8) -> int:
    """M = ceil((N - span) / gap), 0 for a sequence that is too short."""
    if gap_frames < 1 or span_frames < 1:
        raise KernelInputError(f"gap_frames is {gap_frames}, span_frames is {span_frames}; both must be at least 1")
    return max(0, math.ceil((num_frames - span_frames) / gap_frames))
