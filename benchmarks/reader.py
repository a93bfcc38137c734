"""Reading clips of flow: our reader against zarr-python, tensorstore and bare zstd, on the same files.

`python -m benchmarks.reader --videos DIR` takes flow of videos below DIR, `--videos ""` of smooth noise. The farther a
field reaches, the larger it is and the longer it decodes: neighbouring frames, and fields as METHOD 1.1 takes them.
Both codings of the store are read, `packed` and `plain`. Prints rates in clips per CPU-second (all threads of the
process count), ratios on the same files, and bytes and error of a stored field, beside the numbers they should reach.
tensorstore, which reads `plain` only, takes part where it is installed (`pip install tensorstore`).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import zstandard

from kernels.flow import compute_flow, resize_flow
from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.flow_store.codec import CODINGS, PACKED, PLAIN
from storage.flow_store.packing import MAX_BYTES_PER_PIXEL
from storage.flow_store.reader import FlowReader
from storage.flow_store.spec import shard_key
from storage.shards import Scratch, ShardFile

HEIGHT, WIDTH, FIELDS, LENGTH = 128, 171, 24, 8
MAX_BYTES = MAX_BYTES_PER_PIXEL * HEIGHT * WIDTH
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


@dataclass(frozen=True)
class Setting:
    """Fields F_j = flow(frame[gap j] -> frame[gap j + span]), computed at `compute_hw`, stored at 128x171."""

    title: str
    method: str
    gap: int
    span: int
    compute_hw: tuple[int, int]

    @property
    def frames(self) -> int:
        """How many frames FIELDS fields take."""
        return self.gap * (FIELDS - 1) + self.span + 1


SETTINGS = (
    Setting("DIS of neighbouring frames at 171x128", "dis", 1, 1, (HEIGHT, WIDTH)),
    Setting("TV-L1 of neighbouring frames at 340x256", "tvl1", 1, 1, (256, 340)),
    Setting("TV-L1 over 8 frames at 340x256 (METHOD 1.1, the default)", "tvl1", 2, 8, (256, 340)),
)


def flow_of(video: Path, setting: Setting) -> Fields | None:
    """The first FIELDS fields, None where the video is too short."""
    frames = greys_of(video, setting.frames)
    if len(frames) < setting.frames:
        return None
    height, width = setting.compute_hw
    small = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
    small = small.astype(np.uint8, copy=False)
    first, second = small[: -setting.span : setting.gap], small[setting.span :: setting.gap]
    flow = compute_flow(np.ascontiguousarray(first), np.ascontiguousarray(second), method=setting.method)
    return np.asarray(resize_flow(flow, HEIGHT, WIDTH))


def smooth_noise(seed: int) -> Fields:
    """Flow of a blob that moves over a still background, where there are no videos."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 4, (FIELDS, 8, 10, 2)).astype(np.float32) * (rng.random((FIELDS, 8, 10, 1)) < 0.4)
    return np.stack([cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for field in coarse]).astype(
        np.float32
    )


def segments_of(videos: Path, count: int, setting: Setting) -> list[Fields]:
    """Flow of `count` videos spread over the whole folder, fewer where some are too short."""
    paths = sorted(path for path in videos.rglob("*") if path.suffix.lower() in {".avi", ".mp4", ".webm", ".mkv"})
    spread = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    flows = (flow_of(paths[i], setting) for i in spread)
    return [fields for fields in flows if fields is not None]


def our_side(folder: Path) -> Side:
    """FlowReader with the output reused, as a loader uses it."""
    reader = FlowReader(folder)
    out = np.empty((LENGTH, HEIGHT, WIDTH, 2), np.float32)
    return lambda draw: reader.clip(draw[0], range(draw[1], draw[1] + LENGTH), out=out)


def bare_side(folder: Path, segments: int, spec: FlowSpec) -> Side:
    """zstd alone, its context reused: the fields lie compressed in memory and end as bytes, plain or packed."""
    shard = ShardFile(folder / shard_key(0), spec.grid.num_chunks)
    chunks = {
        (segment, field): memoryview(bytes(shard.read_chunks([segment * spec.max_fields + field], Scratch())[0]))
        for segment in range(segments)
        for field in range(FIELDS)
    }
    decompress = zstandard.ZstdDecompressor().decompress

    def read(draw: Draw) -> None:
        for field in range(draw[1], draw[1] + LENGTH):
            decompress(chunks[draw[0], field], max_output_size=MAX_BYTES)

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


def rates(
    sides: dict[tuple[str, str], Side], segments: int, *, seconds: float, rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Clips per CPU-second of every side, one number a round; sides take turns so that noise hits all alike."""
    found: dict[tuple[str, str], list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            picks, count, begun = draws(segments, number), 0, time.process_time()
            while (spent := time.process_time() - begun) < seconds:
                side(next(picks))
                count += 1
            found[name].append(count / spent)
    return found


@dataclass(frozen=True)
class Store:
    """The fields as one coding keeps them."""

    folder: Path
    spec: FlowSpec
    bytes_a_field: float
    write_ms: float


def write_store(folder: Path, fields: list[Fields], coding: str) -> Store:
    """One shard of all videos."""
    spec = FlowSpec(len(fields), FIELDS, HEIGHT, WIDTH, segments_per_shard=len(fields), coding=coding)
    create_flow_store(folder, spec)
    begun = time.process_time()
    written = FlowShardWriter(folder, 0).write(fields).info
    write_ms = (time.process_time() - begun) * 1e3 / written["num_fields"]
    finalise_flow_store(folder)
    return Store(folder, spec, written["num_bytes"] / written["num_fields"], write_ms)


def sides_of(store: Store) -> dict[str, Side]:
    """Who reads this store, `ours` first."""
    sides = {"ours": our_side(store.folder), "bare zstd": bare_side(store.folder, store.spec.segments, store.spec)}
    other = tensorstore_side(store.folder) if store.spec.coding == PLAIN else None
    if other is not None:
        sides["tensorstore"] = other
    sides["zarr-python"] = zarr_side(store.folder)
    return sides


TARGETS = {
    (PLAIN, "bare zstd"): " (target >= 0.7)",
    (PLAIN, "tensorstore"): " (target >= 1.1)",
    (PLAIN, "zarr-python"): " (target >= 5)",
    (PACKED, "bare zstd"): ": the rest is unpacking",
    (PACKED, "zarr-python"): " (target >= 5)",
}


def ratio_of(ours: list[float], theirs: list[float]) -> float:
    """Median over rounds: what disturbs one disturbs the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def report(fields: list[Fields], *, title: str, seconds: float, rounds: int) -> None:
    """Write both stores, time all sides, print."""
    with tempfile.TemporaryDirectory() as name:
        stores = {coding: write_store(Path(name) / coding, fields, coding) for coding in CODINGS}
        error = FlowReader(stores[PLAIN].folder).attributes["quantisation"]
        readers = {coding: sides_of(store) for coding, store in stores.items()}
        expected = readers[PLAIN]["ours"]((0, 3))
        for sides in readers.values():
            for other in sides.keys() - {"bare zstd"}:
                assert np.array_equal(sides[other]((0, 3)), expected), f"{other} disagrees"
        flat = {(coding, side): read for coding, sides in readers.items() for side, read in sides.items()}
        found = rates(flat, len(fields), seconds=seconds, rounds=rounds)
    print(f"\n{title}: {len(fields)} videos, clips of {LENGTH} fields of {WIDTH}x{HEIGHT} px, int16 1/16 px")
    print(f"  error mean, max px {error['mean_epe_px']:8.4f} {error['max_epe_px']:.4f}   (target <= .02, <= .045)")
    for coding, store in stores.items():
        ours = found[coding, "ours"]
        print(f"  {coding}")
        print(f"    bytes a field      {store.bytes_a_field:8.0f}   (target <= 6500)")
        print(f"    writing            {store.write_ms:8.2f}   CPU ms a field: quantise, measure, compress, sync")
        print(f"    ours               {statistics.median(ours):8.0f}   clips per CPU-second (target >= 1300)")
        for side in ("bare zstd", "tensorstore", "zarr-python"):
            if (coding, side) in found:
                values = found[coding, side]
                told = f"ours is {ratio_of(ours, values):.2f}x{TARGETS[coding, side]}"
                print(f"    {side:<15} {statistics.median(values):11.0f}   {told}")
    ours = found[PACKED, "ours"]
    print(
        f"  packed is read {ratio_of(ours, found[PLAIN, 'ours']):.2f}x as fast as plain, "
        f"{ratio_of(ours, found[PLAIN, 'bare zstd']):.2f}x as fast as zstd alone decodes plain"
    )


def main() -> None:
    """Measure and print; see the module's docstring."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos" / "ucf101"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", default=str(default) if default.is_dir() else "")
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of one side in one round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if not options.videos:
        noise = [smooth_noise(seed) for seed in range(options.segments)]
        return report(noise, title="smooth noise", seconds=options.seconds, rounds=options.rounds)
    for setting in SETTINGS:
        fields = segments_of(Path(options.videos), options.segments, setting)
        if not fields:
            parser.error(f"no video of {setting.frames} frames below {options.videos}")
        report(fields, title=setting.title, seconds=options.seconds, rounds=options.rounds)
    return None


if __name__ == "__main__":
    main()
