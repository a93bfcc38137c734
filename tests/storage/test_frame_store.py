"""The frame store: JPEG in, the same JPEG out, no flip silent."""

import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.box import Box
from storage.errors import DamagedError, StorageError
from storage.frame_store import (
    FrameReader,
    FrameShardWriter,
    FrameSpec,
    create_frame_store,
    encode_jpeg,
    frame_shard_key,
    read_frame_spec,
)


def picture(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_store(folder: Path, spec: FrameSpec, segments: Sequence[list[bytes] | None]) -> None:
    create_frame_store(folder, spec)
    for shard in range(spec.grid.num_shards):
        FrameShardWriter(folder, shard).write([segments[i] for i in spec.grid.segments_of(shard)])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_store_gives_back_its_jpegs(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("store") / "frames"
    spec = FrameSpec(
        segments=data.draw(st.integers(1, 7)),
        max_frames=data.draw(st.integers(1, 5)),
        segments_per_shard=data.draw(st.integers(1, 4)),
    )
    size = st.tuples(st.integers(0, spec.max_frames), st.integers(1, 20), st.integers(1, 20))
    sizes = data.draw(st.lists(size, min_size=spec.segments, max_size=spec.segments))
    segments = [[encode_jpeg(picture(j, h, w)) for j in range(count)] for count, h, w in sizes]
    write_store(folder, spec, segments)
    reader = FrameReader(folder)
    for index, (frames, (count, height, width)) in enumerate(zip(segments, sizes, strict=True)):
        assert reader.num_frames(index) == count
        if not count:
            continue
        picked = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9))
        assert [reader.jpeg(index, j) for j in picked] == [frames[j] for j in picked]
        expected = np.stack([simplejpeg.decode_jpeg(frames[j]) for j in picked])
        np.testing.assert_array_equal(reader.clip(index, picked), expected)
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        box = Box(top, left, height - top, width - left)
        out = np.empty((len(picked), height - top, width - left, 3), np.uint8)
        assert reader.clip(index, picked, box=box, out=out) is out
        np.testing.assert_array_equal(out, expected[:, top:, left:])


def test_jpeg_keeps_colours_in_order() -> None:
    """A red picture comes back red: 4:2:0 and quality 90 cost a plain colour next to nothing."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    back = simplejpeg.decode_jpeg(encode_jpeg(red)).astype(int)
    assert np.abs(back - red).max() <= 4
    with pytest.raises(StorageError, match="uint8"):
        encode_jpeg(np.zeros((4, 4), np.uint8))


def test_every_flipped_bit_of_a_frame_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    spec = FrameSpec(segments=2, max_frames=3)
    frames = [[encode_jpeg(picture(i * 3 + j, 9, 12)) for j in range(3)] for i in range(2)]
    write_store(tmp_path / "f", spec, frames)
    path = tmp_path / "f" / frame_shard_key(0)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    stored = sum(len(frame) + 4 for segment in frames for frame in segment)
    for position in rng.integers(0, len(intact), 60).tolist():
        content = bytearray(intact)
        content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        reader = FrameReader(tmp_path / "f")
        with pytest.raises(DamagedError, match=r"00000000\.jpegs"):
            for segment in range(2):
                reader.clip(segment, [0, 1, 2])
        assert position < stored or reader.spec == spec


def test_reader_refuses_what_is_not_there(tmp_path: Path) -> None:
    write_store(tmp_path / "f", FrameSpec(segments=2, max_frames=3), [[encode_jpeg(picture(0, 4, 4))] * 2, None])
    reader = FrameReader(tmp_path / "f")
    for segment, indices in [(2, [0]), (-1, [0]), (0, [2]), (0, [-1]), (0, []), (1, [0])]:
        with pytest.raises(StorageError):
            reader.clip(segment, indices)
    with pytest.raises(StorageError, match="box"):
        reader.clip(0, [0], box=Box(1, 1, 4, 4))
    with pytest.raises(StorageError, match="expected C-contiguous uint8"):
        reader.clip(0, [0], out=np.empty((1, 4, 4, 1), np.uint8))
    with pytest.raises(DamagedError):
        read_frame_spec(tmp_path)
    with pytest.raises(StorageError, match="more than the 3 frames"):
        FrameShardWriter(tmp_path / "f", 0).write([[b""] * 4, None])


def _read_in_child(reader: FrameReader) -> tuple[int, bytes]:
    return os.getpid(), reader.clip(0, [1, 0]).tobytes()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_readers_work_in_forked_and_spawned_processes(tmp_path: Path, start: str) -> None:
    frames = [encode_jpeg(picture(j, 8, 8)) for j in range(2)]
    write_store(tmp_path / "f", FrameSpec(segments=1, max_frames=2), [frames])
    reader = FrameReader(tmp_path / "f")
    own = _read_in_child(reader)
    assert len(pickle.dumps(reader)) < 1000
    with ProcessPoolExecutor(2, mp_context=get_context(start)) as pool:
        for pid, content in pool.map(_read_in_child, [reader] * 4):
            assert pid != own[0] and content == own[1]
