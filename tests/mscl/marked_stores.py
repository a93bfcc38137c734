"""Small stores whose contents say where they come from: segment, index and place can be read off every pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.two_starts import ChosenStarts
from mscl.video.config import ClipConfig
from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg

HEIGHT, WIDTH = 40, 56
SEGMENTS_PER_SHARD = 4


def chosen_starts(starts: Sequence[Sequence[int]]) -> ChosenStarts:
    """One list per segment, as the screen table holds them."""
    return ChosenStarts.from_arrow(pa.chunked_array([pa.array(map(list, starts), pa.list_(pa.int64()))]))


@dataclass(frozen=True)
class Stores:
    """Stores of some segments; segment s has `num_fields[s]` fields and as many frames."""

    flow: Path
    frames: Path
    num_fields: list[int]

    def chosen(self) -> ChosenStarts:
        """Every second start of every segment."""
        return chosen_starts([range(1, count, 2) for count in self.num_fields])

    def dataset(self, *, clip: ClipConfig | None = None, seed: int = 0, **augment: Any) -> ClipDataset:
        """A dataset over all segments."""
        flow = bool(augment.pop("flow", True))
        return ClipDataset(
            self.flow,
            self.frames,
            segments=np.arange(len(self.num_fields)),
            chosen=self.chosen(),
            clip=clip or ClipConfig(length=8, stride=2),
            augment=AugmentConfig(**({"crop_px": 24} | augment)),
            flow=flow,
            seed=seed,
            names=[f"clip-{segment:03d}" for segment in range(len(self.num_fields))],
        )


def marked_field(index: int) -> np.ndarray:
    """Field `index`: direction .1 rad * index, radius (x + 1) / 4 px: the largest is WIDTH / 4."""
    radius = np.broadcast_to((np.arange(WIDTH) + 1) / 4, (HEIGHT, WIDTH))
    return np.stack([radius * math.cos(0.1 * index), radius * math.sin(0.1 * index)], -1).astype(np.float32)


def marked_frame(segment: int, index: int) -> np.ndarray:
    """Red (x + 1) / WIDTH * 255, green by the segment, blue by the index."""
    frame = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[..., 0] = np.rint((np.arange(WIDTH) + 1) / WIDTH * 255)
    frame[..., 1] = 16 * (segment % 16)
    frame[..., 2] = 5 * index
    return frame


def write_stores(
    folder: Path,
    fields: Sequence[Sequence[np.ndarray]],
    frames: Sequence[Sequence[np.ndarray]],
    *,
    quality: int = 95,
) -> Stores:
    """Both stores from whole arrays."""
    height, width = fields[0][0].shape[:2]
    spec = FlowSpec(
        segments=len(fields),
        max_fields=max(len(f) for f in fields),
        height=height,
        width=width,
        segments_per_shard=SEGMENTS_PER_SHARD,
        quantiser="int16_16",
    )
    stores = Stores(folder / "flow.zarr", folder / "frames", [len(f) for f in fields])
    create_flow_store(stores.flow, spec)
    create_frame_store(
        stores.frames,
        FrameSpec(segments=len(frames), max_frames=max(len(f) for f in frames), segments_per_shard=SEGMENTS_PER_SHARD),
    )
    for shard in range(-(-len(fields) // SEGMENTS_PER_SHARD)):
        rows = range(shard * SEGMENTS_PER_SHARD, min((shard + 1) * SEGMENTS_PER_SHARD, len(fields)))
        FlowShardWriter(stores.flow, shard).write([np.stack(fields[row]) for row in rows])
        FrameShardWriter(stores.frames, shard).write(
            [[encode_jpeg(f, quality=quality) for f in frames[row]] for row in rows]
        )
    finalise_flow_store(stores.flow)
    return stores
