"""A hundred thousand segments: files, opening, and what a worker holds while it loads from all of them."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.two_starts import ChosenStarts
from mscl.training.loader import make_loader
from mscl.video.config import ClipConfig
from mscl.views import RawBatch
from storage.flow_store import FlowReader, FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.flow_store.spec import shard_key
from storage.frame_store import (
    FrameReader,
    FrameShardWriter,
    FrameSpec,
    create_frame_store,
    encode_jpeg,
    frame_shard_key,
)

SEGMENTS, FIELDS, MAX_FIELDS, HEIGHT, WIDTH = 100_000, 12, 150, 128, 171
MIB = 2**20
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc here to read memory from")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stores: one true shard under the names of all, by hard links, so that 100,000 segments can be read."""
    folder = tmp_path_factory.mktemp("large")
    flow, frames = folder / "flow.zarr", folder / "frames"
    spec = FlowSpec(SEGMENTS, MAX_FIELDS, HEIGHT, WIDTH)
    create_flow_store(flow, spec)
    create_frame_store(frames, FrameSpec(SEGMENTS, MAX_FIELDS))
    ramp = np.linspace(-3, 3, HEIGHT * WIDTH * 2, dtype=np.float32).reshape(HEIGHT, WIDTH, 2)
    FlowShardWriter(flow, 0).write([np.stack([ramp * (1 + i) for i in range(FIELDS)])] * spec.segments_per_shard)
    grey = np.linspace(0, 255, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3)
    jpeg = encode_jpeg(grey.astype(np.uint8))
    FrameShardWriter(frames, 0).write([[jpeg] * FIELDS] * spec.segments_per_shard)
    for shard in range(1, spec.grid.num_shards):
        os.link(flow / shard_key(0), flow / shard_key(shard))
        os.link(frames / frame_shard_key(0), frames / frame_shard_key(shard))
    finalise_flow_store(flow)
    return folder


def dataset(folder: Path) -> ClipDataset:
    chosen = ChosenStarts(np.arange(SEGMENTS + 1) * FIELDS, np.tile(np.arange(FIELDS), SEGMENTS))
    return ClipDataset(
        folder / "flow.zarr",
        folder / "frames",
        segments=np.arange(SEGMENTS),
        chosen=chosen,
        clip=ClipConfig(length=8, stride=8),
        augment=AugmentConfig(crop_px=112),
    )


def resident_bytes(pid: int | str) -> int:
    """Memory of a process that no other process could give back: what it holds beyond mapped files."""
    size, resident, shared = (int(pages) for pages in Path(f"/proc/{pid}/statm").read_text().split()[:3])
    assert size >= resident >= shared
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def bare_torch_bytes() -> int:
    """The same of a process that has imported torch and nothing else."""
    code = "import torch; print(*open('/proc/self/statm').read().split()[1:3])"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    resident, shared = map(int, run.stdout.split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def worker_memory(folder: Path, *, samples: int, batch_size: int, seen_every: int) -> list[int]:
    """Bytes that one spawned worker holds, after every `seen_every` batches."""
    before = set(multiprocessing.active_children())
    steps = samples // batch_size
    loader = make_loader(
        dataset(folder), batch_size=batch_size, start_step=0, total_steps=steps, workers=1, start_method="spawn"
    )
    seen: list[int] = []
    with loader:
        for step, batch in enumerate(loader, start=1):
            assert isinstance(batch, RawBatch) and len(batch) == batch_size
            # The worker is two batches ahead of us, so it lives until the last two are asked for.
            if step % seen_every == 0 and step <= steps - 3:
                (worker,) = set(multiprocessing.active_children()) - before
                assert worker.pid is not None
                seen.append(resident_bytes(worker.pid))
    return seen


def test_one_file_holds_ten_segments_and_more(folder: Path) -> None:
    files = sum(len(names) for _, _, names in os.walk(folder))
    assert files <= SEGMENTS / 10


def test_stores_of_a_hundred_thousand_segments_open_within_a_second(folder: Path) -> None:
    begun = time.process_time()
    flow, frames = FlowReader(folder / "flow.zarr"), FrameReader(folder / "frames")
    assert time.process_time() - begun < 1
    assert flow.valid(SEGMENTS - 1) == (FIELDS, HEIGHT, WIDTH)
    assert flow.clip(SEGMENTS - 1, [0]).shape == (1, HEIGHT, WIDTH, 2)
    assert frames.num_frames(SEGMENTS - 1) == FIELDS


def test_a_worker_stays_below_150_mib_beyond_torch(folder: Path) -> None:
    """Samples of more than the 256 shards that a reader keeps open. Batches on the worker's heap would take 350."""
    seen = worker_memory(folder, samples=320, batch_size=16, seen_every=4)
    assert max(seen) - bare_torch_bytes() < 150 * MIB


@pytest.mark.storm
def test_memory_of_a_worker_is_flat_over_ten_thousand_samples(folder: Path) -> None:
    """From 2,000 samples on, when the reader's shards are all open."""
    seen = worker_memory(folder, samples=10_000, batch_size=16, seen_every=60)
    assert len(seen) >= 9
    assert max(seen[2:]) - seen[1] < 8 * MIB, [value / MIB for value in seen]
    assert max(seen) - bare_torch_bytes() < 150 * MIB
