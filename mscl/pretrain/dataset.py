"""The pre-training dataset: two views of a video, read from the flow store and the frame store (METHOD 1.3, 1.4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.rotation import NORMALISE_EPSILON_PX
from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.draws import num_draws
from mscl.pretrain.two_starts import ChosenStarts, two_starts
from mscl.video.batch_memory import batch_tensor
from mscl.video.clip_indices import clip_indices, sample_rng, segment_name
from mscl.video.config import ClipConfig
from mscl.video.geometry import random_box, resize_into
from mscl.views import FIELD_STEP, RawBatch
from storage.box import Box
from storage.errors import StorageError
from storage.flow_store import FlowReader
from storage.frame_store import FrameReader


class ClipDataset:
    """Two views of every segment that motion differential sampling kept; cropped, not yet coloured.

    A sample is a pure function of (seed, epoch, segment), in whatever process it is loaded. Readers open their files
    in the process that reads, so the dataset may be pickled or forked at any time.
    """

    def __init__(
        self,
        flow_store: Path,
        frame_store: Path,
        *,
        segments: NDArray[np.integer[Any]],
        chosen: ChosenStarts,
        clip: ClipConfig,
        augment: AugmentConfig,
        flow: bool = True,
        seed: int = 0,
        names: Sequence[Any] | None = None,
    ) -> None:
        """`segments`: rows of the usable manifest to train on; `chosen` and `names` are indexed by such rows.

        `flow=False` leaves the fields unread (MoCo); the flow store then tells sizes only.

        Raises:
            DataError: no segments, one outside the table of starts, or one without a chosen start.
        """
        self.segments: Ints = np.asarray(segments, dtype=np.int64)
        if len(self.segments) == 0:
            raise DataError("no segment is left to train on; see the reasons in the screen's table, or loosen it")
        outside = self.segments[(self.segments < 0) | (self.segments >= len(chosen))]
        if len(outside):
            raise DataError(f"segment row {outside[0]} is outside the screen's table of {len(chosen)} rows")
        unchosen = np.setdiff1d(self.segments, chosen.segments())
        if len(unchosen):
            raise DataError(f"{len(unchosen)} segments have no chosen start, first: row {unchosen[0]}; leave them out")
        self.seed = seed
        self._chosen = chosen
        self._clip = clip
        self._augment = augment
        self._with_flow = flow
        self._names = names
        self._flow = FlowReader(flow_store)
        self._frames = FrameReader(frame_store)

    def __len__(self) -> int:
        return len(self.segments)

    def load(self, epoch: int, positions: Ints) -> RawBatch:
        """Samples at `positions` (indices into `segments`) as they look in this epoch.

        Raises:
            DataError: a segment cannot be read; names it, and the file.
        """
        batch, length, side = len(positions), self._clip.length, self._augment.crop_px
        fields = len(range(0, length, FIELD_STEP))
        rgb = batch_tensor(2, batch, length, side, side, 3, dtype=torch.uint8)
        flow = batch_tensor(2, batch, fields, side, side, 2, dtype=torch.float32) if self._with_flow else None
        crossed = None
        if flow is not None and self._augment.routing == "released":
            crossed = batch_tensor(*flow.shape, dtype=torch.float32)
        draws = np.empty((batch, num_draws(length)), dtype=np.float32)
        segments = self.segments[positions]
        for row, segment in enumerate(segments.tolist()):
            try:
                self._load_sample(
                    segment,
                    sample_rng(self.seed, epoch, segment),
                    rgb_2THW3=rgb[:, row].numpy(),
                    flow_2FHW2=None if flow is None else flow[:, row].numpy(),
                    crossed_2FHW2=None if crossed is None else crossed[:, row].numpy(),
                    draws_D=draws[row],
                )
            except (StorageError, OSError) as error:
                raise DataError(f"{segment_name(segment, self._names)}: {error}") from error
        return RawBatch(
            rgb[0],
            rgb[1],
            None if flow is None else flow[0],
            None if flow is None else flow[1],
            torch.from_numpy(draws),
            torch.from_numpy(segments),
            None if crossed is None else crossed[0],
            None if crossed is None else crossed[1],
        )

    def _load_sample(
        self,
        segment: int,
        rng: np.random.Generator,
        *,
        rgb_2THW3: NDArray[np.uint8],
        flow_2FHW2: NDArray[np.float32] | None,
        crossed_2FHW2: NDArray[np.float32] | None,
        draws_D: NDArray[np.float32],
    ) -> None:
        length, stride = self._clip.length, self._clip.stride
        num_fields, height, width = self._flow.valid(segment)
        starts = self._chosen.of(segment)
        if starts[-1] >= num_fields:
            raise StorageError(
                f"chosen start {starts[-1]}, but the flow store has {num_fields} fields; screen this extraction again"
            )
        pair = two_starts(starts, num_fields, length=length, stride=stride, rng=rng)
        boxes = [random_box(height, width, area=self._augment.area, aspect=self._augment.aspect, rng=rng) for _ in pair]
        draws_D[:] = rng.random(len(draws_D), dtype=np.float32)
        indices_2T = np.stack([clip_indices(o, length=length, stride=stride, num_indices=num_fields) for o in pair])
        self._load_frames(segment, indices_2T, boxes, (height, width), rgb_2THW3)
        if flow_2FHW2 is not None:
            for indices_T, box, out_FHW2 in zip(indices_2T, boxes, flow_2FHW2, strict=True):
                self._load_fields(segment, indices_T, box, out_FHW2)
        if crossed_2FHW2 is not None:  # D5: the other clip's fields in this view's box
            for indices_T, box, out_FHW2 in zip(indices_2T[::-1], boxes, crossed_2FHW2, strict=True):
                self._load_fields(segment, indices_T, box, out_FHW2)

    def _load_frames(
        self, segment: int, indices_2T: Ints, boxes: list[Box], grid: tuple[int, int], out_2THW3: NDArray[np.uint8]
    ) -> None:
        # Views of a short video overlap: every frame is decoded once.
        needed, place_2T = np.unique(indices_2T, return_inverse=True)
        images = self._frames.clip(segment, needed)
        own = (images.shape[1], images.shape[2])
        for place_T, box, out_THW3 in zip(place_2T.reshape(indices_2T.shape), boxes, out_2THW3, strict=True):
            frame_box = box.on_grid(grid, own)
            resize_into([frame_box.of(images[place]) for place in place_T], out_THW3)

    def _load_fields(self, segment: int, indices_T: Ints, box: Box, out_FHW2: NDArray[np.float32]) -> None:
        """The fields of a view, cropped and divided by the largest radius of the whole field (METHOD 1.4.1)."""
        indices_F = indices_T[::FIELD_STEP]
        if self._augment.scale == "field":
            scale_F = self._flow.radius_max(segment, indices_F)
        else:
            # D16: one scale per clip keeps speeds comparable between frames; the median is not led by one bad field.
            scale_F = np.full(len(indices_F), np.median(self._flow.radius_max(segment, indices_T)), dtype=np.float32)
        resize_into(list(self._flow.clip(segment, indices_F, box=box)), out_FHW2)
        out_FHW2 /= (scale_F + np.float32(NORMALISE_EPSILON_PX))[:, None, None, None]
