"""Clips of the stores as a dataset of PyTorch's, for training loops that are not ours."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mscl.array_types import Ints
from mscl.clips.screened import ScreenedClips
from mscl.errors import DataError
from mscl.motion.scores import score_table
from mscl.video.clip_indices import clip_indices, segment_name
from mscl.video.config import ClipConfig
from mscl.video.geometry import centre_box, resize_into
from mscl.video.normalise import normalise_rgb
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.manifest import Manifest


class ClipFacts(TypedDict):
    """What is known of a clip beside its pictures."""

    motion: dict[str, float]
    """The scores of the clip's segment that `mscl motion scores` lists, in px of the stored grid."""
    clip_score: float
    """Score of the clip in motion differential sampling (METHOD 1.2); NaN where the screen did not score it."""
    label: int
    """-1: unlabelled."""
    class_name: str
    split: str
    video: str
    """Path below the data root."""
    segment: int
    """Row in the usable manifest, the segment's number in the stores."""
    start: int
    """Index of the first frame in the segment, in units of `gap_frames`."""
    start_frame: int
    """Number of the first frame in the video, in decode order from 0."""
    start_seconds: float
    """`start_frame` by the video's mean frame rate; NaN where that is not known."""


class Clip(ClipFacts):
    """One clip; PyTorch's `default_collate` makes batches of such."""

    frames: Tensor
    """(3, T, H, W) uint8 RGB; float32 with ImageNet's mean and deviation where `normalise` was asked for."""
    flow: NotRequired[Tensor]
    """(2, T, H, W) float32, u right and v down, px of these frames over `span_frames` source frames."""


class StoredClips(Dataset[Clip]):
    """Clips of the flow, frame and motion stores. Cheap to pickle; every process opens its own files."""

    def __init__(
        self,
        stores: ScreenedClips,
        manifest: Manifest,
        *,
        segments_N: Ints,
        starts_N: Ints,
        clip: ClipConfig,
        side_px: int | None = None,
        normalise: bool = False,
        flow: bool = True,
    ) -> None:
        """See `open_clips`; clip n begins at `starts_N[n]` of segment `segments_N[n]`."""
        self.segments_N = segments_N
        self.starts_N = starts_N
        self.clip = clip
        self.gap_frames = stores.flow_config.gap_frames
        """Source frames from one index to the next: frames of a clip lie `clip.stride * gap_frames` apart."""
        self.span_frames = stores.flow_config.span_frames
        """Source frames that a field spans."""
        self.classes = manifest.classes
        """Names in the order of the labels."""
        self._side_px = side_px
        self._normalise = normalise
        self._with_flow = flow
        self._columns = {
            name: manifest.column(name)
            for name in ("segment_id", "video", "class_name", "split", "label", "first_frame", "fps")
        }
        self._scores = score_table(stores.motion_store())
        self._clip_scores_N = stores.clip_scores(segments_N, starts_N, clip)
        self._flow = stores.flow()
        self._frames = stores.frames()

    def __len__(self) -> int:
        return len(self.segments_N)

    def __getitem__(self, number: int) -> Clip:
        """Clip `number`, the same in every process.

        Raises:
            IndexError: there is none.
            TypeError: no number.
            DataError: its segment cannot be read; names it, and the file.
        """
        number = index(number)  # no slice, no list
        if not -len(self) <= number < len(self):
            raise IndexError(f"clip {number} of {len(self)}")
        segment = int(self.segments_N[number])
        try:
            frames_THW3, flow_THW2 = self._read(segment, self.indices(number))
        except (StorageError, OSError) as error:
            raise DataError(f"{segment_name(segment, list(self._columns['segment_id']))}: {error}") from error
        frames = torch.from_numpy(frames_THW3)
        shown = normalise_rgb(frames[None])[0] if self._normalise else frames.permute(3, 0, 1, 2)
        clip = cast("Clip", {"frames": shown, **self.facts(number)})
        if flow_THW2 is not None:
            clip["flow"] = torch.from_numpy(flow_THW2).permute(3, 0, 1, 2)
        return clip

    def facts(self, number: int) -> ClipFacts:
        """What is known of clip `number`, without reading its pictures."""
        segment, start = int(self.segments_N[number]), int(self.starts_N[number])
        start_frame = int(self._columns["first_frame"][segment]) + self.gap_frames * start
        fps = float(self._columns["fps"][segment])
        return {
            "motion": {name: float(of_segment[segment]) for name, of_segment in self._scores.items()},
            "clip_score": float(self._clip_scores_N[number]),
            "label": int(self._columns["label"][segment]),
            "class_name": str(self._columns["class_name"][segment]),
            "split": str(self._columns["split"][segment]),
            "video": str(self._columns["video"][segment]),
            "segment": segment,
            "start": start,
            "start_frame": start_frame,
            "start_seconds": start_frame / fps if fps > 0 else float("nan"),
        }

    def indices(self, number: int) -> Ints:
        """(T,) indices of clip `number` in its segment's frames and fields."""
        num_fields = self._flow.valid(int(self.segments_N[number]))[0]
        start = int(self.starts_N[number])
        return clip_indices(start, length=self.clip.length, stride=self.clip.stride, num_indices=num_fields)

    def _read(self, segment: int, indices_T: Ints) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        _, height, width = self._flow.valid(segment)
        length, side_px = len(indices_T), self._side_px
        frames_THW3 = self._frames.clip(segment, indices_T)
        if side_px is None:
            return frames_THW3, self._flow.clip(segment, indices_T) if self._with_flow else None
        box = centre_box(height, width, side=min(height, width))
        own = box.on_grid((height, width), (frames_THW3.shape[1], frames_THW3.shape[2]))
        square_THW3 = np.empty((length, side_px, side_px, 3), np.uint8)
        resize_into([own.of(frame) for frame in frames_THW3], square_THW3)
        if not self._with_flow:
            return square_THW3, None
        flow_THW2 = np.empty((length, side_px, side_px, 2), np.float32)
        resize_into(list(self._flow.clip(segment, indices_T, box=box)), flow_THW2)
        flow_THW2 *= np.float32(side_px / box.height)  # px of the resized frames
        return square_THW3, flow_THW2
