"""Frames and flow of a dataset's segments, for pictures; and what the tables of the stages hold."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mscl.display.blocks import Mark
from mscl.display.pictures import Flow, Picture, thumbnail
from mscl.stage.view import StageView

if TYPE_CHECKING:
    from storage.flow_store import FlowReader
    from storage.frame_store import FrameReader
    from storage.manifest import Manifest


@dataclass(frozen=True)
class Footage:
    """Frames, flow and names of the usable segments, from the folders of ingest and extract."""

    manifest_path: Path
    extract_folder: Path
    gap_frames: int = 1
    """Source frames per index of the stores."""

    @classmethod
    def of(cls, stages: Mapping[str, StageView]) -> "Footage":
        """From the views of a lineage.

        Raises:
            KeyError: ingest or extract is not among them.
        """
        extract = stages["extract"]
        gap = int(extract.config.get("flow", {}).get("gap_frames", 1))
        return cls(stages["ingest"].folder / "manifest.parquet", extract.folder, gap)

    @cached_property
    def manifest(self) -> "Manifest":
        """Usable rows; row i is segment i."""
        from storage.manifest import read_manifest

        return read_manifest(self.manifest_path).ok()

    @cached_property
    def frames(self) -> "FrameReader":
        """Reader of the frame store."""
        from storage.frame_store import FrameReader

        return FrameReader(self.extract_folder / "frames")

    @cached_property
    def flow(self) -> "FlowReader":
        """Reader of the flow store."""
        from storage.flow_store import FlowReader

        return FlowReader(self.extract_folder / "flow.zarr")

    def name(self, segment: int) -> str:
        """File name of the segment's video, without its folders and ending; with its part where it has several."""
        segment_id = str(self.manifest.row(segment).segment_id)
        video, _, part = segment_id.rpartition("#")
        stem = Path(video or segment_id).stem
        return f"{stem} part {int(part) + 1}" if part.isdigit() and int(part) else stem

    def class_name(self, segment: int) -> str:
        """Class of the segment; a dash where it has none."""
        return str(self.manifest.row(segment).class_name) or "–"

    def strip_indices(self, segment: int, *, count: int = 8) -> list[int]:
        """At most `count` evenly spaced indices of a segment."""
        there = self.num_indices(segment)
        return [int(i) for i in np.linspace(0, there - 1, min(count, there))]

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


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines; a torn last line is left out."""
    return list(_rows(path))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if isinstance(row, dict):
            yield row


def verdicts(manifest: "Manifest") -> Counter[str]:
    """How many segments have which verdict."""
    return Counter(str(verdict) for verdict in manifest.column("verdict"))


def class_table(manifest: "Manifest") -> list[tuple[str, dict[str, int]]]:
    """Class -> split -> usable segments, in label order; unlabelled last."""
    usable = manifest.ok()
    counts = Counter(zip(map(str, usable.column("class_name")), map(str, usable.column("split")), strict=True))
    names = [*map(str, manifest.classes), *([""] if any(name == "" for name, _ in counts) else [])]
    order = {"train": 0, "val": 1, "test": 2}
    splits = sorted({split for _, split in counts}, key=lambda split: (order.get(split, 9), split))
    return [(name, {split: counts[name, split] for split in splits}) for name in names]
