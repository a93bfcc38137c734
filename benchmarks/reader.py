"""Reading clips of flow: our reader against zarr-python, tensorstore and bare zstd, on the same files.

`python -m benchmarks.reader --videos DIR` takes flow (OpenCV DIS) of videos below DIR, `--videos ""` of smooth noise.
Prints rates in clips per CPU-second (all threads of the process count), ratios, and bytes and error of a stored field,
beside the numbers they should reach. tensorstore takes part where it is installed (`pip install tensorstore`).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numcodecs import zstd

from storage.flow_reader import FlowReader
from storage.flow_spec import shard_key
from storage.flow_store import FlowSpec, create_flow_store, finalise_flow_store, write_flow_shard
from storage.shards import Scratch, ShardFile

HEIGHT, WIDTH, FIELDS, LENGTH = 128, 171, 24, 8
Fields = npt.NDArray[np.float32]
Draw = tuple[int, int]
Side = Callable[[Draw], Any]


def greys_of(video: Path, count: int) -> list[npt.NDArray[np.uint8]]:
    """First `count` grey frames at the video's own size."""
    import av

    frames: list[npt.NDArray[np.uint8]] = []
    with av.open(str(video), metadata_errors="ignore") as container:
        for frame in container.decode(video=0):
            frames.append(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            if len(frames) == count:
                break
    return frames


def flow_of(video: Path, *, gap: int, span: int, compute: tuple[int, int], preset: int) -> Fields | None:
    """DIS flow F_j = flow(frame[gap j] -> frame[gap j + span]) at `compute` (width, height), stored at 171x128."""
    frames = greys_of(video, gap * (FIELDS - 1) + span + 1)
    if len(frames) < gap * (FIELDS - 1) + span + 1:
        return None
    dis = cv2.DISOpticalFlow.create(preset)
    small = [cv2.resize(frame, compute, interpolation=cv2.INTER_AREA) for frame in frames]
    fields = np.empty((FIELDS, HEIGHT, WIDTH, 2), np.float32)
    for j in range(FIELDS):
        flow = dis.calc(small[gap * j], small[gap * j + span], np.zeros((compute[1], compute[0], 2), np.float32))
        scale = np.array([WIDTH / compute[0], HEIGHT / compute[1]], np.float32)
        fields[j] = cv2.resize(flow, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) * scale
    return fields


def smooth_noise(seed: int) -> Fields:
    """Flow of a blob that moves over a still background, where there are no videos."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 4, (FIELDS, 8, 10, 2)).astype(np.float32) * (rng.random((FIELDS, 8, 10, 1)) < 0.4)
    return np.stack([cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for field in coarse]).astype(
        np.float32
    )


def segments_of(
    videos: Path | None, count: int, *, gap: int, span: int, compute: tuple[int, int], preset: int
) -> list[Fields]:
    """Flow of `count` videos spread over the folder."""
    if videos is None:
        return [smooth_noise(seed) for seed in range(count)]
    paths = sorted(path for path in videos.rglob("*") if path.suffix.lower() in {".avi", ".mp4", ".webm", ".mkv"})
    found: list[Fields] = []
    for path in paths[:: max(1, len(paths) // (count + count // 4))]:
        fields = flow_of(path, gap=gap, span=span, compute=compute, preset=preset)
        if fields is not None and len(found) < count:
            found.append(fields)
    return found


def our_side(folder: Path) -> Side:
    """FlowReader with the output reused, as a loader uses it."""
    reader = FlowReader(folder)
    out = np.empty((LENGTH, HEIGHT, WIDTH, 2), np.float32)
    return lambda draw: reader.clip(draw[0], range(draw[1], draw[1] + LENGTH), out=out)


def bare_side(folder: Path, segments: int, spec: FlowSpec) -> Side:
    """zstd alone: the compressed fields lie in memory, the output is reused, nothing is made float."""
    shard = ShardFile(folder / shard_key(0), spec.num_chunks)
    chunks = {
        (segment, field): bytes(shard.read_chunks([segment * spec.max_fields + field], Scratch())[0])
        for segment in range(segments)
        for field in range(FIELDS)
    }
    codes = np.empty(spec.block_shape, spec.codes.numpy_dtype)

    def read(draw: Draw) -> None:
        for field in range(draw[1], draw[1] + LENGTH):
            zstd.decompress(chunks[draw[0], field], codes)

    return read


def _to_pixels(codes: npt.NDArray[np.int16], out: Fields) -> Fields:
    """The other readers' codes as ours come out, a component at a time: the fastest way in NumPy."""
    for component in range(2):
        np.multiply(codes[:, component], np.float32(1 / 16), out=out[..., component])
    return out


def zarr_side(folder: Path) -> Side:
    """zarr-python, the array opened once."""
    import zarr

    array: Any = zarr.open_array(folder / "flow", mode="r")
    out = np.empty((LENGTH, HEIGHT, WIDTH, 2), np.float32)
    return lambda draw: _to_pixels(array[draw[0], draw[1] : draw[1] + LENGTH], out)


def tensorstore_side(folder: Path) -> Side | None:
    """tensorstore with one thread; its cache holds indices, and too little to hold the data."""
    try:
        import tensorstore
    except ImportError:
        return None
    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(folder / "flow")},
            "recheck_cached_data": False,
            "recheck_cached_metadata": False,
            "context": {
                "cache_pool": {"total_bytes_limit": 3_000_000},
                "data_copy_concurrency": {"limit": 1},
                "file_io_concurrency": {"limit": 1},
            },
        },
        open=True,
        read=True,
    ).result()
    out = np.empty((LENGTH, HEIGHT, WIDTH, 2), np.float32)
    return lambda draw: _to_pixels(array[draw[0], draw[1] : draw[1] + LENGTH].read().result(), out)


def draws(segments: int, seed: int) -> Iterator[Draw]:
    """Random clips without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(segments)), int(rng.integers(FIELDS - LENGTH + 1))


def rates(sides: dict[str, Side], segments: int, *, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Clips per CPU-second of every side, one number a round; sides take turns so that noise hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            picks, count, begun = draws(segments, number), 0, time.process_time()
            while (spent := time.process_time() - begun) < seconds:
                side(next(picks))
                count += 1
            found[name].append(count / spent)
    return found


def report(fields: list[Fields], *, title: str, seconds: float, rounds: int) -> None:
    """Write the store, time all sides, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "flow.zarr"
        spec = FlowSpec(len(fields), FIELDS, HEIGHT, WIDTH, segments_per_shard=len(fields))
        create_flow_store(folder, spec)
        begun = time.process_time()
        written = write_flow_shard(folder, 0, fields)
        write_ms = (time.process_time() - begun) * 1e3 / written.info["num_fields"]
        finalise_flow_store(folder)
        error = FlowReader(folder).attributes["quantisation"]
        sides: dict[str, Side] = {"bare zstd": bare_side(folder, len(fields), spec), "ours": our_side(folder)}
        other = tensorstore_side(folder)
        if other is not None:
            sides["tensorstore"] = other
        sides["zarr-python"] = zarr_side(folder)
        ours, plain = sides["ours"]((0, 3)), sides["zarr-python"]((0, 3))
        assert np.array_equal(ours, plain), "readers disagree"
        found = rates(sides, len(fields), seconds=seconds, rounds=rounds)
    ratio = {name: statistics.median(a / b for a, b in zip(found["ours"], found[name], strict=True)) for name in sides}
    print(f"\n{title}: {len(fields)} videos, clips of {LENGTH} fields of {WIDTH}x{HEIGHT} px, int16 1/16 px")
    print(f"  bytes a field          {written.info['num_bytes'] / written.info['num_fields']:8.0f}   (target <= 6500)")
    print(f"  error mean, max px     {error['mean_epe_px']:8.4f} {error['max_epe_px']:.4f}   (target <= .02, <= .045)")
    print(f"  writing, CPU ms/field  {write_ms:8.2f}   (quantise, measure, compress, sync)")
    for name, values in found.items():
        print(f"  {name:<15} {statistics.median(values):8.0f} clips per CPU-second")
    print(f"  ours / bare zstd       {ratio['bare zstd']:8.2f}   (target >= .70)")
    print(f"  ours / zarr-python     {ratio['zarr-python']:8.1f}   (target >= 5)")
    if "tensorstore" in ratio:
        print(f"  ours / tensorstore     {ratio['tensorstore']:8.2f}   (target >= 1.1)")
    else:
        print("  tensorstore is not installed: left out")
    print(f"  ours                   {statistics.median(found['ours']):8.0f}   (target >= 1300 clips per CPU-second)")


def main() -> None:
    """Two kinds of flow: the smallest, of neighbouring frames on the stored grid, and as METHOD 1.1 takes it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos" / "ucf101"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", default=str(default) if default.is_dir() else "")
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of one side in one round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    videos = Path(options.videos) if options.videos else None
    settings = [
        ("DIS fast of neighbouring frames at 171x128", 1, 1, (WIDTH, HEIGHT), cv2.DISOPTICAL_FLOW_PRESET_FAST),
        ("DIS medium over 8 frames at 340x256", 2, 8, (340, 256), cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    ]
    for title, gap, span, compute, preset in settings[: 1 if videos is None else 2]:
        fields = segments_of(videos, options.segments, gap=gap, span=span, compute=compute, preset=preset)
        if not fields:
            parser.error(f"no video of {gap * (FIELDS - 1) + span + 1} frames below {videos}")
        report(
            fields, title="smooth noise" if videos is None else title, seconds=options.seconds, rounds=options.rounds
        )


if __name__ == "__main__":
    main()
