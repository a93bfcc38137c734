"""Frames and flow of a dataset's segments, for pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mscl.display.blocks import Mark
from mscl.display.pictures import Flow, Picture, thumbnail
from mscl.extract.config import FlowConfig
from mscl.stage.view import StageView
from storage.layout import Extracted, Ingested

if TYPE_CHECKING:
    from storage.flow_store import FlowReader
    from storage.frame_store import FrameReader
    from storage.manifest import Manifest

_STRIP_FRAMES = 8
"""At most."""


@dataclass(frozen=True)
class SegmentPictures:
    """Frames, flow and names of the usable segments, from the folders of ingest and extract."""

    manifest_path: Path
    extract_folder: Path
    gap_frames: int
    """Source frames per index of the stores."""

    @classmethod
    def of(cls, stages: Mapping[str, StageView]) -> "SegmentPictures":
        """From the views of a lineage.

        Raises:
            KeyError: ingest or extract is not among them.
            ValueError: the record of extract holds no settings of flow that this version knows.
        """
        extract = stages["extract"]
        flow = FlowConfig.model_validate(extract.config["flow"])
        return cls(Ingested(stages["ingest"].folder).manifest_path, extract.folder, flow.gap_frames)

    @cached_property
    def manifest(self) -> "Manifest":
        """Usable rows; row i is segment i."""
        from storage.manifest import read_manifest

        return read_manifest(self.manifest_path).ok()

    @cached_property
    def frames(self) -> "FrameReader":
        """Reader of the frame store."""
        from storage.frame_store import FrameReader

        return FrameReader(Extracted(self.extract_folder).frames)

    @cached_property
    def flow(self) -> "FlowReader":
        """Reader of the flow store."""
        from storage.flow_store import FlowReader

        return FlowReader(Extracted(self.extract_folder).flow)

    def name(self, segment: int) -> str:
        """File name of the segment's video, without its folders and ending; with its part where it has several."""
        segment_id = str(self.manifest.row(segment).segment_id)
        video, _, part = segment_id.rpartition("#")
        stem = Path(video or segment_id).stem
        return f"{stem} part {int(part) + 1}" if part.isdigit() and int(part) else stem

    def class_name(self, segment: int) -> str:
        """Class of the segment; a dash where it has none."""
        return str(self.manifest.row(segment).class_name) or "–"

    def strip_indices(self, segment: int) -> list[int]:
        """Evenly spaced indices of a segment, for a strip of a few frames."""
        there = self.num_indices(segment)
        return [int(i) for i in np.linspace(0, there - 1, min(_STRIP_FRAMES, there))]

    def strip(self, segment: int, indices: Sequence[int]) -> tuple[Picture, Flow]:
        """Frames of a segment with the flow that starts at each of them."""
        return self.frames.clip(segment, list(indices)), np.array(self.flow.clip(segment, list(indices)))

    def thumb(self, segment: int, index: int | None = None, *, mark: Mark = "") -> bytes:
        """Frame and flow at an index, the middle one by default, as one small picture."""
        last = self.num_indices(segment) - 1
        place = (last + 1) // 2 if index is None else min(index, last)
        frame, field = self.frames.clip(segment, [place])[0], np.array(self.flow.clip(segment, [place])[0])
        return thumbnail(frame, field, mark=mark)

    def num_indices(self, segment: int) -> int:
        """Indices that have both a frame and a flow field."""
        return max(1, min(self.frames.num_frames(segment), self.flow.valid(segment)[0]))

    def sample(self, count: int, *, among: Sequence[int] | None = None) -> list[int]:
        """Segments to show: of as many classes as possible, the same ones every time."""
        labels = np.asarray(self.manifest.column("label"))
        pool = np.arange(len(labels)) if among is None else np.asarray(among, dtype=int)
        queues = [list(pool[labels[pool] == label]) for label in np.unique(labels[pool])]
        # From the middle of each class: its first file is no better than any other.
        for queue in queues:
            queue[:] = queue[len(queue) // 2 :] + queue[: len(queue) // 2]
        stride = max(1, len(queues) // max(count, 1))
        order = queues[::stride] + [queue for place, queue in enumerate(queues) if place % stride]
        picked: list[int] = []
        while len(picked) < min(count, len(pool)):
            for queue in order:
                if queue and len(picked) < count:
                    picked.append(int(queue.pop(0)))
        return picked
