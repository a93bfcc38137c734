"""The flow store against plain zarr-python, both ways, and its rules for input."""

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.box import Box
from storage.errors import DamagedError, StorageError
from storage.flow_store import (
    QUANTISERS,
    FlowReader,
    FlowShardWriter,
    FlowSpec,
    create_flow_store,
    finalise_flow_store,
    read_spec,
)
from storage.flow_store.codec import CODINGS
from storage.json_files import json_bytes
from storage.shards import crc32c

Segment = npt.NDArray[np.float32] | None


def random_segments(
    rng: np.random.Generator, sizes: list[tuple[int, int, int]], *, scale_px: float = 3
) -> list[Segment]:
    return [rng.normal(0, scale_px, (*size, 2)).astype(np.float32) if size[0] else None for size in sizes]


def write_store(folder: Path, spec: FlowSpec, segments: list[Segment]) -> None:
    create_flow_store(folder, spec)
    for shard in range(spec.grid.num_shards):
        FlowShardWriter(folder, shard).write([segments[i] for i in spec.grid.segments_of(shard)])
    finalise_flow_store(folder)


def oracle_clip(folder: Path, segment: int, indices: list[int]) -> npt.NDArray[np.float32]:
    """The clip through zarr-python, tables and all."""
    group: Any = zarr.open_group(folder, mode="r")
    height, width = int(group["height"][segment]), int(group["width"][segment])
    codes = group["flow"][segment][indices][:, :, :height, :width]
    scale = group["flow"].attrs["scale"]
    return np.ascontiguousarray(codes.transpose(0, 2, 3, 1)).astype(np.float32) * np.float32(scale)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_store_reads_back_like_plain_zarr(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("store") / "flow.zarr"
    small = st.integers(1, 6)
    spec = FlowSpec(
        segments=data.draw(st.integers(1, 7)),
        max_fields=data.draw(small),
        height=data.draw(small),
        width=data.draw(small),
        segments_per_shard=data.draw(st.integers(1, 4)),
        quantiser=data.draw(st.sampled_from(sorted(QUANTISERS))),
        coding=data.draw(st.sampled_from(CODINGS)),
    )
    size = st.tuples(st.integers(0, spec.max_fields), st.integers(1, spec.height), st.integers(1, spec.width))
    sizes = data.draw(st.lists(size, min_size=spec.segments, max_size=spec.segments))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    segments = random_segments(rng, sizes)
    write_store(folder, spec, segments)
    reader = FlowReader(folder)
    for index, fields in enumerate(segments):
        if fields is None:
            assert reader.valid(index) == (0, 0, 0)
            continue
        assert reader.valid(index) == fields.shape[:3]
        indices = data.draw(st.lists(st.integers(0, len(fields) - 1), min_size=1, max_size=9))
        clip = reader.clip(index, indices)
        np.testing.assert_array_equal(clip, oracle_clip(folder, index, indices))
        half_step = 0.5 / spec.codes.steps_per_px
        clipped = np.clip(fields[indices], -spec.codes.limit_px, spec.codes.limit_px)
        assert np.abs(clip - clipped).max() <= half_step + 1e-6
        top, left = data.draw(st.integers(0, fields.shape[1] - 1)), data.draw(st.integers(0, fields.shape[2] - 1))
        rows, columns = fields.shape[1] - top, fields.shape[2] - left
        cropped = reader.clip(index, indices, box=Box(top, left, rows, columns))
        np.testing.assert_array_equal(cropped, clip[:, top:, left:])
        radius = np.sqrt((clip.astype(np.float64) ** 2).sum(-1)).max((1, 2))
        np.testing.assert_allclose(reader.radius_max(index, indices), radius, rtol=1e-6)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("quantiser", sorted(QUANTISERS))
def test_shards_that_zarr_wrote_read_the_same(tmp_path: Path, quantiser: str, coding: str) -> None:
    rng = np.random.default_rng(0)
    spec = FlowSpec(
        segments=5, max_fields=4, height=6, width=9, segments_per_shard=2, quantiser=quantiser, coding=coding
    )
    segments = random_segments(rng, [(4, 6, 9), (0, 1, 1), (2, 5, 9), (3, 6, 4), (1, 1, 1)])
    write_store(tmp_path / "ours.zarr", spec, segments)
    write_store(tmp_path / "theirs.zarr", spec, segments)
    array: Any = zarr.open_array(tmp_path / "theirs.zarr" / "flow", mode="r+")
    codes = array[...]
    for file in (tmp_path / "theirs.zarr" / "flow").glob("c.*"):
        file.unlink()
    array[...] = codes
    ours, theirs = FlowReader(tmp_path / "ours.zarr"), FlowReader(tmp_path / "theirs.zarr")
    for index, fields in enumerate(segments):
        if fields is not None:
            picked = list(range(len(fields)))[::-1]
            np.testing.assert_array_equal(ours.clip(index, picked), theirs.clip(index, picked))


@pytest.mark.parametrize("coding", CODINGS)
def test_zarr_sees_padding_as_fill_and_our_tables(tmp_path: Path, coding: str) -> None:
    sizes = {"segments": 3, "max_fields": 3, "height": 4, "width": 5, "segments_per_shard": 2}
    spec = FlowSpec(**sizes, coding=coding, attributes={"method": "none"})
    write_store(tmp_path / "f", spec, [np.ones((2, 3, 4, 2), np.float32), None, np.zeros((1, 4, 5, 2), np.float32)])
    group: Any = zarr.open_group(tmp_path / "f", mode="r")
    flow = group["flow"][...]
    assert flow.dtype == np.int16 and flow.shape == (3, 3, 2, 4, 5)
    assert (flow[0, :2, :, :3, :4] == 16).all()
    assert (flow[0, :2, :, 3:] == -32768).all() and (flow[0, 2] == -32768).all() and (flow[1] == -32768).all()
    assert group["num_fields"][...].tolist() == [2, 0, 1]
    assert group["height"][...].tolist() == [3, 0, 4]
    np.testing.assert_array_equal(group["radius_max"][0], np.array([np.sqrt(2), np.sqrt(2), np.nan], np.float32))
    assert np.isnan(group["radius_max"][1]).all()
    assert group.attrs["method"] == "none"
    assert group.attrs["quantisation"]["max_epe_px"] == 0
    assert read_spec(tmp_path / "f") == spec


def test_attributes_state_the_measured_error(tmp_path: Path) -> None:
    """Uniform rounding error: mean length of a vector uniform in a square of half side a is .7652 a."""
    fields = np.random.default_rng(1).uniform(-5, 5, (4, 40, 50, 2)).astype(np.float32)
    for name, codes in QUANTISERS.items():
        spec = FlowSpec(segments=1, max_fields=4, height=40, width=50, quantiser=name)
        write_store(tmp_path / name, spec, [fields])
        stated = FlowReader(tmp_path / name).attributes["quantisation"]
        actual = np.linalg.norm(FlowReader(tmp_path / name).clip(0, range(4)) - fields, axis=-1)
        assert stated["mean_epe_px"] == pytest.approx(actual.mean(), rel=1e-4)
        assert stated["max_epe_px"] == pytest.approx(actual.max(), rel=1e-4)
        assert stated["mean_epe_px"] == pytest.approx(0.7652 * 0.5 / codes.steps_per_px, rel=0.02)
        assert stated["max_epe_px"] <= stated["bound_epe_px"] * (1 + 1e-5)
        assert stated["num_clipped"] == 0


def test_too_large_values_are_clipped_and_counted(tmp_path: Path) -> None:
    fields = np.zeros((1, 4, 4, 2), np.float32)
    fields[0, 0, 0] = 20, -20
    fields[0, 1, 1] = 15.875, 0
    spec = FlowSpec(segments=1, max_fields=1, height=4, width=4, quantiser="int8_8")
    create_flow_store(tmp_path / "f", spec)
    written = FlowShardWriter(tmp_path / "f", 0).write([fields])
    assert written.info["num_clipped"] == 2
    finalise_flow_store(tmp_path / "f")
    reader = FlowReader(tmp_path / "f")
    assert reader.clip(0, [0])[0, 0, 0].tolist() == [15.875, -15.875]
    assert reader.attributes["quantisation"]["num_clipped"] == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_is_refused(tmp_path: Path, value: float) -> None:
    fields = np.zeros((2, 4, 4, 2), np.float32)
    fields[1, 2, 3, 0] = value
    create_flow_store(tmp_path / "f", FlowSpec(segments=1, max_fields=2, height=4, width=4))
    with pytest.raises(StorageError, match="segment 0, field 1: .* 1 values that are NaN"):
        FlowShardWriter(tmp_path / "f", 0).write([fields])
    assert not list((tmp_path / "f" / "flow").glob("c.*"))


def test_bytes_do_not_depend_on_how_fields_come(tmp_path: Path) -> None:
    spec = FlowSpec(segments=3, max_fields=3, height=8, width=8, segments_per_shard=3)
    segments = random_segments(np.random.default_rng(2), [(3, 8, 8), (2, 4, 8), (3, 8, 8)])
    digests = []
    for name in ("a", "b"):
        create_flow_store(tmp_path / name / "flow.zarr", spec)
    digests.append(FlowShardWriter(tmp_path / "a" / "flow.zarr", 0).write(segments).files)
    writer = FlowShardWriter(tmp_path / "b" / "flow.zarr", 0)
    for fields in segments:
        writer.add(iter([] if fields is None else fields))
    digests.append(writer.commit().files)
    assert digests[0] == digests[1]
    assert list(digests[0]) == ["flow.zarr/flow/c.0.0.0.0.0"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    create_flow_store(tmp_path / "f", FlowSpec(segments=2, max_fields=2, height=4, width=4))
    one = np.zeros((1, 4, 4, 2), np.float32)
    for fields, message in [
        ([np.zeros((3, 4, 4, 2), np.float32), None], "more than the 2 fields"),
        ([np.zeros((1, 5, 4, 2), np.float32), None], "5x4 px does not fit the grid of 4x4"),
        ([np.zeros((1, 4, 4), np.float32), None], r"expected \(H, W, 2\)"),
        ([[one[0], np.zeros((3, 4, 2), np.float32)], None], "field 1 has 3x4 px"),
        ([one], "only 1 were added"),
        ([one, one, one], "one more"),
    ]:
        with pytest.raises(StorageError, match=message):
            FlowShardWriter(tmp_path / "f", 0).write(fields)
    with pytest.raises(StorageError, match="shard 1 does not exist"):
        FlowShardWriter(tmp_path / "f", 1).write([one])
    with pytest.raises(StorageError, match="unknown"):
        FlowSpec(segments=1, max_fields=1, height=1, width=1, quantiser="int4")
    with pytest.raises(StorageError, match="coding 'zip' is unknown; choose one of plain, packed"):
        FlowSpec(segments=1, max_fields=1, height=1, width=1, coding="zip")


def test_reader_refuses_what_is_not_there(tmp_path: Path) -> None:
    spec = FlowSpec(segments=2, max_fields=3, height=4, width=4)
    write_store(tmp_path / "f", spec, [np.zeros((2, 4, 4, 2), np.float32), None])
    reader = FlowReader(tmp_path / "f")
    for call in (
        lambda: reader.clip(2, [0]),
        lambda: reader.clip(-1, [0]),
        lambda: reader.clip(0, [2]),
        lambda: reader.clip(0, [-1]),
        lambda: reader.clip(0, []),
        lambda: reader.clip(1, [0]),
        lambda: reader.clip(0, [0], box=Box(1, 0, 4, 4)),
        lambda: reader.clip(0, [0], out=np.empty((1, 4, 4, 2), np.float64)),  # type: ignore[arg-type]
        lambda: reader.radius_max(1, [0]),
    ):
        with pytest.raises(StorageError):
            call()
    with pytest.raises(DamagedError):
        FlowReader(tmp_path)


def test_a_changed_layout_is_not_believed(tmp_path: Path) -> None:
    """A store of width 7 read as 9 would decode without an error, pixels shifted."""
    write_store(
        tmp_path / "f", FlowSpec(segments=1, max_fields=1, height=4, width=7), [np.ones((1, 4, 7, 2), np.float32)]
    )
    path = tmp_path / "f" / "zarr.json"
    text = path.read_text()
    assert '"width": 7' in text
    path.write_text(text.replace('"width": 7', '"width": 9'))
    with pytest.raises(DamagedError, match="checksum"):
        FlowReader(tmp_path / "f")


def test_a_store_from_before_there_were_codings_is_plain(tmp_path: Path) -> None:
    fields = np.random.default_rng(7).normal(0, 1, (2, 6, 7, 2)).astype(np.float32)
    write_store(tmp_path / "f", FlowSpec(1, 2, 6, 7, coding="plain"), [fields])
    path = tmp_path / "f" / "zarr.json"
    content = json.loads(path.read_bytes())
    layout = content["attributes"]["layout"]
    del layout["coding"], layout["crc32c"]
    layout["crc32c"] = f"{crc32c(json_bytes(layout)):08x}"
    path.write_bytes(json_bytes(content))
    assert np.abs(FlowReader(tmp_path / "f").clip(0, [1, 0]) - fields[::-1]).max() <= 1 / 32


def test_out_is_filled_and_returned(tmp_path: Path) -> None:
    fields = np.random.default_rng(3).normal(0, 1, (5, 6, 7, 2)).astype(np.float32)
    write_store(tmp_path / "f", FlowSpec(segments=1, max_fields=5, height=6, width=7), [fields])
    reader = FlowReader(tmp_path / "f")
    out = np.full((2, 3, 4, 2), np.nan, np.float32)
    assert reader.clip(0, [4, 1], box=Box(2, 3, 3, 4), out=out) is out
    np.testing.assert_array_equal(out, reader.clip(0, [4, 1])[:, 2:5, 3:7])


def test_both_codings_read_the_same(tmp_path: Path) -> None:
    """And zarr-python finds the codec without an import of ours."""
    fields = np.random.default_rng(6).normal(0, 1, (4, 30, 41, 2)).cumsum(1).cumsum(2).astype(np.float32)
    clips = []
    for coding in CODINGS:
        write_store(tmp_path / coding, FlowSpec(1, 4, 30, 41, coding=coding), [fields])
        clips.append(FlowReader(tmp_path / coding).clip(0, [3, 1], box=Box(3, 5, 20, 30)))
    np.testing.assert_array_equal(*clips)
    read = "import sys, zarr; print(zarr.open_group(sys.argv[1], mode='r')['flow'][0, 3, 1, 2, 5]); print(*sys.modules)"
    command = [sys.executable, "-c", read, str(tmp_path / "packed")]
    value, modules = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split(
        "\n"
    )[:2]
    assert int(value) == round(float(fields[3, 2, 5, 1]) * 16)
    assert "storage.flow_store.zarr_codec" in modules.split()


def _read_in_child(reader: FlowReader) -> tuple[int, bytes]:
    return os.getpid(), reader.clip(0, [0, 2, 1]).tobytes()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_readers_work_in_forked_and_spawned_processes(tmp_path: Path, start: str) -> None:
    fields = np.random.default_rng(4).normal(0, 1, (3, 6, 7, 2)).astype(np.float32)
    write_store(tmp_path / "f", FlowSpec(segments=1, max_fields=3, height=6, width=7), [fields])
    reader = FlowReader(tmp_path / "f")
    own = _read_in_child(reader)
    with ProcessPoolExecutor(2, mp_context=get_context(start)) as pool:
        for pid, content in pool.map(_read_in_child, [reader] * 4):
            assert pid != own[0] and content == own[1]
    assert _read_in_child(reader) == own


def test_reader_used_before_a_fork_has_own_files_after_it(tmp_path: Path) -> None:
    """Without pickling, as a DataLoader worker inherits it: the child must not use the parent's descriptors."""
    fields = np.random.default_rng(5).normal(0, 1, (3, 6, 7, 2)).astype(np.float32)
    write_store(tmp_path / "f", FlowSpec(segments=1, max_fields=3, height=6, width=7), [fields])
    reader = FlowReader(tmp_path / "f")
    expected = reader.clip(0, [2, 0])
    child = os.fork()
    if child == 0:
        same = np.array_equal(reader.clip(0, [2, 0]), expected)
        os._exit(0 if same and reader._shards._process == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(reader.clip(0, [2, 0]), expected)


def test_pickled_reader_is_small(tmp_path: Path) -> None:
    write_store(
        tmp_path / "f",
        FlowSpec(segments=1, max_fields=3, height=60, width=70),
        [np.ones((3, 60, 70, 2), np.float32)],
    )
    reader = FlowReader(tmp_path / "f")
    reader.clip(0, [0])
    assert len(pickle.dumps(reader)) < 1000


def test_hundred_thousand_segments_open_fast(tmp_path: Path) -> None:
    import time

    folder = tmp_path / "f"
    spec = FlowSpec(segments=100_000, max_fields=150, height=128, width=171)
    create_flow_store(folder, spec)
    from storage.zarr_files import write_vector

    for name in ("num_fields", "height", "width"):
        write_vector(folder, name, np.arange(spec.segments, dtype=np.int32))
    started = time.perf_counter()
    reader = FlowReader(folder)
    assert time.perf_counter() - started < 1
    assert reader.valid(99_999)[0] == 99_999
