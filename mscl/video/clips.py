"""Labelled RGB clips for fine-tuning and evaluation, read from the frame store (METHOD 1.8)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.video.batch_memory import batch_tensor
from mscl.video.clip_indices import (
    Shown,
    clip_indices,
    even_starts,
    part_indices,
    sample_rng,
    segment_name,
    shown_indices,
)
from mscl.video.frame_recipe import short_side_of
from mscl.video.geometry import crops_into, random_box, resize_into
from storage.errors import StorageError
from storage.frame_store import FrameReader

_SHUFFLE_SEED = 0
Sampling = Literal["clip", "segments"]
"""`clip`: frames `stride` indices apart, wrapping. `segments`: one frame of each of `length` equal parts."""


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """K clips of each of B videos.

    Raises:
        DataError: a shape or dtype does not fit.
    """

    rgb_BKTHW3: Tensor
    """uint8."""
    label_B: Tensor
    """int64."""
    segment_B: Tensor
    """int64, row of the segment in the usable manifest."""

    def __post_init__(self) -> None:
        rgb = self.rgb_BKTHW3
        if rgb.ndim != 6 or rgb.shape[-1] != 3 or rgb.dtype != torch.uint8:
            raise DataError(f"rgb of a batch must be uint8 (B, K, T, H, W, 3), got {tuple(rgb.shape)} {rgb.dtype}")
        for name in ("label_B", "segment_B"):
            shape = tuple(getattr(self, name).shape)
            if shape != (len(rgb),):
                raise DataError(f"{name} must have shape ({len(rgb)},) as rgb {tuple(rgb.shape)}, got {shape}")

    def __len__(self) -> int:
        return self.rgb_BKTHW3.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Clips and labels on `device`; segment rows stay on the CPU."""
        return type(self)(
            self.rgb_BKTHW3.to(device, non_blocking=non_blocking),
            self.label_B.to(device, non_blocking=non_blocking),
            self.segment_B,
        )

    def pin_memory(self) -> Self:
        """A copy in page-locked memory; the DataLoader's pinning thread calls this by name."""
        return type(self)(self.rgb_BKTHW3.pin_memory(), self.label_B.pin_memory(), self.segment_B)


class _LabelledFrames(ABC):
    """Rows, labels and frames, and how a batch is put together from single videos."""

    def __init__(
        self,
        frame_store: Path,
        *,
        rows: NDArray[np.integer[Any]],
        labels: NDArray[np.integer[Any]],
        shape_KTHW3: tuple[int, int, int, int, int],
        names: Sequence[Any] | None,
    ) -> None:
        if len(rows) == 0 or len(rows) != len(labels):
            raise DataError(f"labelled clips need as many labels as rows, got {len(rows)} rows, {len(labels)} labels")
        self.rows: Ints = np.asarray(rows, dtype=np.int64)
        self.labels: Ints = np.asarray(labels, dtype=np.int64)
        self._shape_KTHW3 = shape_KTHW3
        self._names = names
        self._frames = FrameReader(frame_store)

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, epoch: int, positions: Ints) -> LabelledBatch:
        """Videos at `positions` (indices into `rows`).

        Raises:
            DataError: a segment cannot be read; names it, and the file.
        """
        rgb = batch_tensor(len(positions), *self._shape_KTHW3, dtype=torch.uint8)
        rows = self.rows[positions]
        for place, segment in enumerate(rows.tolist()):
            try:
                self._load_video(epoch, segment, rgb[place].numpy())
            except (StorageError, OSError) as error:
                raise DataError(f"{segment_name(segment, self._names)}: {error}") from error
        return LabelledBatch(rgb, torch.from_numpy(self.labels[positions]), torch.from_numpy(rows))

    @abstractmethod
    def _load_video(self, epoch: int, segment: int, out_KTHW3: NDArray[np.uint8]) -> None: ...

    def _read(self, segment: int, indices: Ints) -> list[NDArray[np.uint8]]:
        """One image per index, every frame decoded once."""
        needed, place = np.unique(indices, return_inverse=True)
        images = self._frames.clip(segment, needed)
        return [images[i] for i in place.ravel()]


class EvalClips(_LabelledFrames):
    """Evenly spaced clips of every video, short side resized, centre cropped; nothing random."""

    def __init__(
        self,
        frame_store: Path,
        *,
        rows: NDArray[np.integer[Any]],
        labels: NDArray[np.integer[Any]],
        clips: int,
        length: int,
        stride: int,
        crop_px: int,
        short_side_px: int | None = None,
        sampling: Sampling = "clip",
        shown: Shown = "moving",
        crops: int = 1,
        names: Sequence[Any] | None = None,
    ) -> None:
        """`rows` of the usable manifest, with their labels; `names` is indexed by row.

        `short_side_px`: None takes `short_side_of` the crop.
        `sampling="segments"`: clip c takes the frame at (c + 0.5) / clips of each part, so one clip the centres.
        `shown`: the clips, or a control of them; one that stands still is a single clip.
        `crops`: 1, the centre, or 3 along the longer side; the views of a video are its clips times these.

        Raises:
            DataError: nothing to read, or as many labels as rows are not given.
        """
        views = ((clips if shown in ("moving", "shuffled") else 1) * crops, length, crop_px, crop_px, 3)
        super().__init__(frame_store, rows=rows, labels=labels, shape_KTHW3=views, names=names)
        self._clips = clips
        self._stride = stride
        self._short_side_px = short_side_of(crop_px) if short_side_px is None else short_side_px
        self._sampling = sampling
        self._shown = shown

    def _load_video(self, epoch: int, segment: int, out_KTHW3: NDArray[np.uint8]) -> None:
        indices_KT = self.indices(self._frames.num_frames(segment), segment)
        images = self._read(segment, indices_KT)
        length = indices_KT.shape[1]
        for clip, out_VTHW3 in enumerate(out_KTHW3.reshape(len(indices_KT), -1, *out_KTHW3.shape[1:])):
            of_clip = images[clip * length : (clip + 1) * length]
            crops_into(of_clip, out_VTHW3, short_side_px=self._short_side_px)

    def indices(self, num_frames: int, segment: int = 0) -> Ints:
        """(clips, T) frames that are shown of a video of `num_frames`; the segment decides on a random order."""
        clips, length = self._clips, self._shape_KTHW3[1]
        if self._sampling == "segments":
            rows = [
                part_indices(num_frames, parts=length, offsets=np.array((clip + 0.5) / clips)) for clip in range(clips)
            ]
        else:
            starts = even_starts(num_frames, clips=clips, length=length, stride=self._stride)
            rows = [
                clip_indices(start, length=length, stride=self._stride, num_indices=num_frames)
                for start in starts.tolist()
            ]
        return shown_indices(
            np.stack(rows), self._shown, num_indices=num_frames, rng=sample_rng(_SHUFFLE_SEED, 0, segment)
        )


class TrainClips(_LabelledFrames):
    """One random clip of every video for fine-tuning: random resized crop, and a flip where direction means nothing."""

    def __init__(
        self,
        frame_store: Path,
        *,
        rows: NDArray[np.integer[Any]],
        labels: NDArray[np.integer[Any]],
        length: int,
        stride: int,
        crop_px: int,
        area: tuple[float, float],
        aspect: tuple[float, float],
        flip: float,
        sampling: Sampling,
        seed: int,
        names: Sequence[Any] | None = None,
    ) -> None:
        """As `EvalClips`; `flip` is a probability, `area` and `aspect` as in METHOD 1.4.3.

        Raises:
            DataError: nothing to read, or as many labels as rows are not given.
        """
        super().__init__(
            frame_store, rows=rows, labels=labels, shape_KTHW3=(1, length, crop_px, crop_px, 3), names=names
        )
        self.seed = seed
        self._stride = stride
        self._area = area
        self._aspect = aspect
        self._flip = flip
        self._sampling = sampling

    def _load_video(self, epoch: int, segment: int, out_KTHW3: NDArray[np.uint8]) -> None:
        rng = sample_rng(self.seed, epoch, segment)
        num_frames = self._frames.num_frames(segment)
        length = self._shape_KTHW3[1]
        if self._sampling == "segments":
            indices_T = part_indices(num_frames, parts=length, offsets=rng.random(length))
        else:
            span = (length - 1) * self._stride + 1
            start = int(rng.integers(0, max(num_frames - span, 0), endpoint=True))
            indices_T = clip_indices(start, length=length, stride=self._stride, num_indices=num_frames)
        images = self._read(segment, indices_T)
        box = random_box(*images[0].shape[:2], area=self._area, aspect=self._aspect, rng=rng)
        mirrored = rng.random() < self._flip
        resize_into([box.of(image) for image in images], out_KTHW3[0])
        if mirrored:
            out_KTHW3[0] = out_KTHW3[0, :, :, ::-1].copy()
