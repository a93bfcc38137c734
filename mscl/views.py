"""What a training sample is: the raw batch that workers load, and the two views that the networks see.

Shape letters: B batch, T RGB frames of a clip, F flow fields that the flow encoder reads (METHOD D19), H W crop
side, D draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from mscl.errors import DataError

FIELD_STEP = 2
"""Of the fields of a clip the flow encoder reads every second one, 0, 2, 4, ..., so only those are loaded (METHOD 1.5,
D19)."""


def _shape(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


@dataclass(frozen=True, eq=False)
class View:
    """One augmented clip as the networks read it.

    `rotated_B3FHW` is the *same* clip as `flow_B3FHW`, its vectors turned by the sample's angle (FRA, METHOD 1.4.2).

    Raises:
        DataError: a shape or dtype does not fit.
    """

    rgb_B3THW: Tensor
    """Float, ImageNet mean and standard deviation."""
    flow_B3FHW: Tensor | None = None
    """Float, colour-coded flow in [0, 1]; None without a flow stream (MoCo)."""
    rotated_B3FHW: Tensor | None = None
    """As `flow_B3FHW`; None where no loss reads it."""

    def __post_init__(self) -> None:
        rgb, flow, rotated = self.rgb_B3THW, self.flow_B3FHW, self.rotated_B3FHW
        if rgb.ndim != 5 or rgb.shape[1] != 3 or not rgb.is_floating_point():
            raise DataError(f"rgb of a view must be float (B, 3, T, H, W), got {_shape(rgb)}")
        if flow is None:
            if rotated is not None:
                raise DataError(f"a view has rotated flow {_shape(rotated)} but no flow; give both or neither")
            return
        if flow.ndim != 5 or flow.shape[1] != 3 or flow.dtype != rgb.dtype or flow.device != rgb.device:
            raise DataError(f"flow of a view must be (B, 3, F, H, W) in rgb's dtype, got {_shape(flow)}, {_shape(rgb)}")
        if flow.shape[0] != rgb.shape[0] or flow.shape[3:] != rgb.shape[3:]:
            raise DataError(f"rgb and flow of a view must share B, H and W, got {_shape(rgb)} and {_shape(flow)}")
        if rotated is not None and (rotated.shape != flow.shape or rotated.dtype != flow.dtype):
            raise DataError(f"flow and rotated flow of a view differ: {_shape(flow)} and {_shape(rotated)}")


@dataclass(frozen=True, eq=False)
class TwoViews:
    """Query and key view of every video of the batch: clips at o1 and at o2 (METHOD 1.3)."""

    q: View
    k: View

    def __post_init__(self) -> None:
        for field in fields(View):
            q: Tensor | None = getattr(self.q, field.name)
            k: Tensor | None = getattr(self.k, field.name)
            if field.name == "rotated_B3FHW" and (q is None or k is None):
                continue  # of rotated flow the losses may read one view alone (D26)
            if _shape(q) != _shape(k):
                raise DataError(f"{field.name} differs between the views: q {_shape(q)}, k {_shape(k)}")


@dataclass(frozen=True, eq=False)
class RawBatch:
    """Cropped clips as workers load them; colour work is still to be done, on the training device.

    Raises:
        DataError: a shape or dtype does not fit.
    """

    rgb_q_BTHW3: Tensor
    """uint8, cropped and resized."""
    rgb_k_BTHW3: Tensor
    flow_q_BFHW2: Tensor | None
    """float32, fields divided by their scale (METHOD 1.4.1), cropped and resized; None without a flow stream."""
    flow_k_BFHW2: Tensor | None
    draws_BD: Tensor
    """float32 U[0, 1) from which augmentation takes its decisions; drawn per sample from (seed, epoch,
    segment), so that no result depends on ranks or workers. Stays on the CPU: see `mscl.pretrain.augment`."""
    segment_B: Tensor
    """int64, on the CPU: row of the segment in the usable manifest."""
    crossed_q_BFHW2: Tensor | None = None
    """As `flow_k_BFHW2`, but in the query's crop box; for the released routing alone (D5)."""
    crossed_k_BFHW2: Tensor | None = None
    """As `flow_q_BFHW2`, but in the key's crop box."""

    def __post_init__(self) -> None:
        rgb = self.rgb_q_BTHW3
        if rgb.ndim != 5 or rgb.shape[-1] != 3 or rgb.dtype != torch.uint8:
            raise DataError(f"rgb of a batch must be uint8 (B, T, H, W, 3), got {_shape(rgb)}")
        if _shape(rgb) != _shape(self.rgb_k_BTHW3):
            raise DataError(f"rgb differs between the views: q {_shape(rgb)}, k {_shape(self.rgb_k_BTHW3)}")
        flow, flow_k = self.flow_q_BFHW2, self.flow_k_BFHW2
        if _shape(flow) != _shape(flow_k):
            raise DataError(f"flow differs between the views: q {_shape(flow)}, k {_shape(flow_k)}")
        crossed = {_shape(self.crossed_q_BFHW2), _shape(self.crossed_k_BFHW2)}
        if crossed != {"None"} and crossed != {_shape(flow)}:
            raise DataError(
                f"crossed flow of a batch must be as its flow {_shape(flow)}, got {' and '.join(sorted(crossed))}"
            )
        if flow is not None and (
            flow.ndim != 5
            or flow.shape[-1] != 2
            or flow.shape[0] != rgb.shape[0]
            or flow.shape[2:4] != rgb.shape[2:4]
            or not flow.is_floating_point()
        ):
            raise DataError(
                f"flow of a batch must be float (B, F, H, W, 2) beside rgb {_shape(rgb)}, got {_shape(flow)}"
            )
        for name in ("draws_BD", "segment_B"):
            tensor: Tensor = getattr(self, name)
            if tensor.shape[0] != rgb.shape[0]:
                raise DataError(f"{name} must have one row per clip of rgb {_shape(rgb)}, got {_shape(tensor)}")

    def __len__(self) -> int:
        return self.rgb_q_BTHW3.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The clips on `device`; draws and segment rows stay on the CPU, where reading them waits for nothing."""
        return self._with_clips(lambda clips: clips.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory; the DataLoader's pinning thread calls this by name."""
        return self._with_clips(lambda clips: clips.pin_memory())

    def _with_clips(self, changed: Callable[[Tensor], Tensor]) -> Self:
        clips = {name: value for name, value in self._tensors().items() if name not in ("draws_BD", "segment_B")}
        return replace(self, **{name: changed(value) for name, value in clips.items()})

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor | None] = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def split(self, parts: int) -> Iterator[Self]:
        """Equal contiguous micro-batches, without copying.

        Raises:
            DataError: the batch is not divisible by `parts`.
        """
        if parts < 1 or len(self) % parts:
            raise DataError(f"a batch of {len(self)} clips does not split into {parts} equal parts; change accumulate")
        size = len(self) // parts
        for start in range(0, len(self), size):
            yield replace(self, **{name: tensor[start : start + size] for name, tensor in self._tensors().items()})
