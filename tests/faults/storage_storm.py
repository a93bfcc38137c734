"""Storms on a stored result: flipped bits, kill -9 of the writer, a full disk. Nothing may be lost in silence.

`python tests/faults/storage_storm.py --flips 2000 --kills 50 --seed 0` runs them at length, a short part of them is in
tests/storage/test_store_faults.py. The result under fire is small and of random numbers, by the calls that
extraction makes.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from storage.atomic import remove_staged
from storage.commits import FINAL, CommitLog
from storage.errors import DamagedError
from storage.flow_store import FlowReader, FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameReader, FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg
from storage.verify import verify_extract

SEGMENTS, PER_SHARD, MAX_FIELDS, HEIGHT, WIDTH = 10, 3, 5, 24, 32
Say = Callable[[str], None]


def fields_of(segment: int) -> np.ndarray:
    """Smooth random flow of a random size; segment 4 has none."""
    rng = np.random.default_rng(segment)
    count = 0 if segment == 4 else int(rng.integers(1, MAX_FIELDS + 1))
    height, width = int(rng.integers(8, HEIGHT + 1)), int(rng.integers(8, WIDTH + 1))
    return np.cumsum(rng.normal(0, 0.2, (count, height, width, 2)), axis=2).astype(np.float32)


def frames_of(segment: int) -> list[bytes]:
    """As many frames as fields."""
    rng = np.random.default_rng(segment)
    shape = fields_of(segment).shape
    return [encode_jpeg(rng.integers(0, 256, (*shape[1:3], 3), dtype=np.uint8)) for _ in range(shape[0])]


def write_result(folder: Path, *, pause_seconds: float = 0.0) -> None:
    """Write the result, or what is missing of it, shard by shard: what extraction does after a kill, too."""
    flow, frames = folder / "flow.zarr", folder / "frames"
    spec = FlowSpec(SEGMENTS, MAX_FIELDS, HEIGHT, WIDTH, PER_SHARD, attributes={"method": "random"})
    create_flow_store(flow, spec)
    create_frame_store(frames, FrameSpec(SEGMENTS, MAX_FIELDS, PER_SHARD, attributes={"quality": 90}))
    remove_staged(folder)
    log = CommitLog(folder / "commits.jsonl")
    done = log.rows()
    for shard in range(spec.grid.num_shards):
        if shard in done:
            continue
        members = spec.grid.segments_of(shard)
        written_flow = FlowShardWriter(flow, shard).write(map(fields_of, members))
        time.sleep(pause_seconds)
        written_frames = FrameShardWriter(frames, shard).write(map(frames_of, members))
        time.sleep(pause_seconds)
        log.append(shard, written_flow.files | written_frames.files, **written_flow.info)
    log.append(FINAL, finalise_flow_store(flow))
    log.compact()


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file under `folder`; half-written ones would show."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_found_on_read(folder: Path, expected: list[tuple[bytes, bytes]]) -> bool:
    """Whether reading everything raises DamagedError; AssertionError where it gives anything but what was written."""
    try:
        flow, frames = FlowReader(folder / "flow.zarr"), FrameReader(folder / "frames")
        for segment, (flow_bytes, frame_bytes) in enumerate(expected):
            count = flow.valid(segment)[0]
            if not flow_bytes:
                assert count == 0, f"segment {segment} has gained {count} fields"
                continue
            flow.radius_max(segment, range(count))
            assert flow.clip(segment, range(count)).tobytes() == flow_bytes, f"flow of segment {segment} has changed"
            clip = frames.clip(segment, range(frames.num_frames(segment)))
            assert clip.tobytes() == frame_bytes, f"frames of segment {segment} have changed"
    except DamagedError:
        return True
    return False


def content(folder: Path) -> list[tuple[bytes, bytes]]:
    """Bytes of all fields and frames by segment."""
    flow, frames = FlowReader(folder / "flow.zarr"), FrameReader(folder / "frames")
    found = []
    for segment in range(SEGMENTS):
        count = flow.valid(segment)[0]
        both = (flow.clip(segment, range(count)), frames.clip(segment, range(count))) if count else ()
        found.append((both[0].tobytes(), both[1].tobytes()) if both else (b"", b""))
    return found


def flip_storm(folder: Path, *, count: int, seed: int, say: Say) -> tuple[int, int]:
    """Flip one random bit of one random file, `count` times, put it right again; how many verify and readers found.

    Files weigh the same: half of the flips hit small metadata. Raises AssertionError where verify missed one.
    """
    rng = np.random.default_rng(seed)
    expected = content(folder)
    assert verify_extract(folder) == []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found_by_readers = 0
    for number in range(count):
        path = files[int(rng.integers(len(files)))]
        intact = path.read_bytes()
        damaged = bytearray(intact)
        position, bit = int(rng.integers(len(intact))), int(rng.integers(8))
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        found = verify_extract(folder)
        place = f"flip {number}: bit {bit} of byte {position} of {path.relative_to(folder)}"
        assert found, f"{place}: verify is silent"
        assert path.name in " ".join(map(str, found)) or path.name == "commits.jsonl", f"{place}: named {found}"
        try:
            found_by_readers += is_found_on_read(folder, expected)
        except AssertionError as error:
            raise AssertionError(f"{place}: {error}") from error
        path.write_bytes(intact)
        if number % 100 == 99:
            say(f"{number + 1} flips, all found by verify, {found_by_readers} by reading")
    return count, found_by_readers


def kill_storm(folder: Path, *, count: int, seed: int, say: Say) -> int:
    """kill -9 a writer at a random moment, resume, `count` times; returns how many kills hit a living writer.

    Raises AssertionError where a resumed result differs from an unkilled one by a byte.
    """
    rng = np.random.default_rng(seed)
    write_result(folder / "unkilled")
    expected = digests(folder / "unkilled")
    hits = 0
    for number in range(count):
        result = folder / f"killed{number}"
        result.mkdir()
        for _ in range(int(rng.integers(1, 4))):
            hits += _kill_writer(result, after_seconds=float(rng.uniform(0, 0.3)))
        write_result(result)
        assert digests(result) == expected, f"kill {number} of seed {seed}: the resumed result differs"
        shutil.rmtree(result)
        if number % 10 == 9:
            say(f"{number + 1} results killed and resumed, {hits} kills hit a living writer")
    return hits


def _kill_writer(result: Path, *, after_seconds: float) -> bool:
    """Start a writer, kill it `after_seconds` after its first sign of life; whether it was still at work."""
    command = [sys.executable, __file__, "--write", str(result), "--pause", "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment()) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(after_seconds)
        writer.send_signal(signal.SIGKILL)
        return writer.wait() == -signal.SIGKILL


def write_with_limit(result: Path, limit_nbytes: int) -> subprocess.CompletedProcess[str]:
    """A writer that may not make a file larger than `limit_nbytes`: a full disk, as far as it can tell."""
    command = [sys.executable, __file__, "--write", str(result), "--limit", str(limit_nbytes)]
    return subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}


def _write_as_child(result: Path, *, pause_seconds: float, limit_nbytes: int) -> int:
    from resource import RLIMIT_FSIZE, setrlimit

    from storage.errors import StorageError

    print("alive", flush=True)
    if limit_nbytes:
        setrlimit(RLIMIT_FSIZE, (limit_nbytes, limit_nbytes))
    try:
        write_result(result, pause_seconds=pause_seconds)
    except StorageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def main() -> int:
    """Run the storms; exit code 1 with an AssertionError where something was lost in silence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="only write the result into this folder (what the storms kill)")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=0)
    options = parser.parse_args()
    if options.write is not None:
        return _write_as_child(options.write, pause_seconds=options.pause, limit_nbytes=options.limit)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_result(folder / "result")
        flips, by_readers = flip_storm(folder / "result", count=options.flips, seed=options.seed, say=print)
        print(f"{flips} flipped bits: verify found all, reading found {by_readers}, no reader gave a changed value")
        hits = kill_storm(folder, count=options.kills, seed=options.seed, say=print)
        print(
            f"{options.kills} results killed and resumed ({hits} kills hit a living writer): all equal the unkilled one"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
