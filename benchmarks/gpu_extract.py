"""Extraction with GPUs from end to end, beside another version of this program and beside the CPU.

    python benchmarks/gpu_extract.py [--baseline DIR] [--videos 96] [--half] [--cpu] [--raft 24] [--pretrain STEPS]
        [--tiny]

Draws videos of 340x256 px and 300 frames (moving noise, H.264), ingests them, and clocks `mscl stage extract` as a
user would run it: interpreters, imports, compiling kernels and all; with when each of its processes came how far.
`--baseline DIR` does the same with that checkout, on the same videos. Shares of the GPU's memory are what nvidia-smi
says, twice a second. All is written to TMPDIR: on a slow disk that is what is measured. `--raft N` takes RAFT with
random weights on the first N videos as well.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
FRAMES, WIDTH, HEIGHT = 300, 340, 256
FLOW = [
    "flow.gap_frames=2", "flow.span_frames=8", "flow.compute_short_side=256", "flow.store_short_side=128",
    "flow.segments_per_shard=4",
]  # fmt: skip


def draw(path: Path, seed: int, frames: int) -> None:
    """One H.264 file of noise that moves."""
    import av
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (HEIGHT // 4 + 60, WIDTH // 4 + 60, 3), dtype=np.uint8)
    texture = cv2.resize(noise, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            y, x = (int(100 * (1 + f(number / 20 + seed))) for f in (np.sin, np.cos))
            image = np.array(texture[y : y + HEIGHT, x : x + WIDTH], np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


class Memory:
    """The most that nvidia-smi says, in MiB."""

    def __init__(self) -> None:
        self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.5):
            try:
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            except (OSError, subprocess.CalledProcessError):
                return
            self.most = max(self.most, *map(int, said))

    def end(self) -> int:
        """The number."""
        self._ended.set()
        self._thread.join()
        return self.most


def timeline(file: Path, began: float, ended: float) -> None:
    """Print when each kind of milestone was first and last reached, in seconds after the command (mscl.milestones)."""
    found: dict[str, list[float]] = {}
    for line in file.read_text().splitlines():
        when, _, what = line.split(" ", 2)
        found.setdefault(what, []).append(float(when) - began)
    for what, times in sorted(found.items(), key=lambda item: min(item[1])):
        several = f" to {max(times):5.2f} s, {len(times)} times" if len(times) > 1 else ""
        print(f"    {min(times):6.2f} s{several:<24} {what}")
    print(f"    {ended - began:6.2f} s{'':<24} command ended", flush=True)


def mscl(tree: Path, *arguments: str, milestones: Path | None = None) -> float:
    """Seconds of a command of that checkout; with a file for its milestones, when they were reached is printed."""
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() != HERE]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), *others])}
    program = "from flows.cli.command import main; main()"
    if milestones is not None:
        environment["MSCL_MILESTONES"] = str(milestones)
    began, began_at = time.monotonic(), time.time()
    run = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if run.returncode:
        said = run.stdout[-2000:] + run.stderr[-3000:]
        sys.exit(f"mscl {' '.join(arguments)} in {tree} ended with {run.returncode}:\n{said}")
    if milestones is not None and milestones.exists():
        timeline(milestones, began_at, began_at + seconds)
    return seconds


def digests(workspace: Path) -> set[str]:
    """Of all shards of all extractions there."""
    sys.path.insert(0, str(HERE))
    from storage.commits import CommitLog

    rows = [row for path in workspace.glob("extract/*/commits*") for row in CommitLog(path).rows().values()]
    return {digest for row in rows for digest in row.files.values()}


def measure(name: str, tree: Path, videos: Path, settings: list[str], *, steps: int = 0) -> tuple[float, set[str]]:
    """Seconds of extract, and digests of its stores; then so many steps of a training."""
    with tempfile.TemporaryDirectory() as workspace:
        common = ["demo", f"data.root={videos}", "--workspace", workspace, *FLOW, *settings]
        mscl(tree, "stage", "ingest", *common)
        memory = Memory()
        seconds = mscl(tree, "stage", "extract", *common, milestones=Path(workspace) / "milestones")
        found = digests(Path(workspace))
        record = json.loads(next(Path(workspace).glob("extract/*/record.json")).read_text())
        fields = int(record["metrics"]["fields"])
        print(
            f"{name}: {seconds:.1f} s, {fields / seconds:.0f} fields a second in all, GPU memory {memory.end()} MiB",
            flush=True,
        )
        if steps:
            train(tree, Path(workspace), common, steps)
        return seconds, found


def train(tree: Path, workspace: Path, common: list[str], steps: int) -> None:
    """Pre-train R18 at 112 px on what was extracted; print when the first step came, and the wait for data."""
    training = [
        "screen.select=all", "clip.stride=8", "pretrain.model.rgb_width=1", "pretrain.model.flow_width=1",
        "pretrain.augment.crop_px=112", "pretrain.optim.warmup_epochs=0", "pretrain.epochs=1",
        f"pretrain.min_steps={steps}", "pretrain.batch_size=64",
    ]  # fmt: skip
    if "runtime.device=cpu" in common:
        training += ["clip.stride=2", "pretrain.model.rgb_width=0.0625", "pretrain.batch_size=2"]
    for stage in ("motion", "screen"):
        mscl(tree, "stage", stage, *common, *training)
    seconds = mscl(tree, "stage", "pretrain", *common, *training, milestones=workspace / "training")
    print(f"pretrain, {steps} steps: {seconds:.1f} s", flush=True)
    for line in next(workspace.glob("pretrain/*/metrics.jsonl")).read_text().splitlines():
        row = json.loads(line)
        print(f"    step {row['step']}: {row['data_wait']:.1%} of the time waiting for data", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--half", action="store_true", help="again with half the workers: the same digests")
    parser.add_argument("--cpu", action="store_true", help="the same without the GPU, too")
    parser.add_argument("--raft", type=int, default=0, metavar="N")
    parser.add_argument("--pretrain", type=int, default=0, metavar="STEPS", help="then train, to clock its first step")
    parser.add_argument("--tiny", action="store_true", help="three videos, on the CPU, to try this program")
    given = parser.parse_args()
    count, frames = (3, 40) if given.tiny else (given.videos, FRAMES)
    device = ["runtime.device=cpu"] if given.tiny else []
    with tempfile.TemporaryDirectory() as scratch:
        videos = Path(scratch) / "videos"
        (videos / "noise").mkdir(parents=True)
        began = time.monotonic()
        with ProcessPoolExecutor() as pool:
            paths = [videos / "noise" / f"{number:03d}.mp4" for number in range(count)]
            list(pool.map(draw, paths, range(count), [frames] * count))
        print(f"{count} videos drawn in {time.monotonic() - began:.1f} s", flush=True)
        now, stores = measure("this", HERE, videos, device, steps=given.pretrain)
        if given.half:
            workers = f"runtime.workers={len(os.sched_getaffinity(0)) // 2}"
            _, stores_of_half = measure("this, half the workers", HERE, videos, [workers, *device])
            print("same digests" if stores and stores == stores_of_half else "THE DIGESTS DIFFER", flush=True)
        if given.baseline:
            before, _ = measure("baseline", given.baseline.resolve(), videos, device)
            print(f"baseline -> this: {before:.1f} -> {now:.1f} s, {before / now:.2f}x", flush=True)
        if given.cpu:
            cpu, _ = measure("this, on the CPU alone", HERE, videos, ["runtime.device=cpu"])
            print(f"CPU -> this: {cpu:.1f} -> {now:.1f} s, {cpu / now:.2f}x", flush=True)
        if given.raft:
            import torch
            from torchvision.models.optical_flow import raft_small

            weights = Path(scratch) / "random.pth"
            torch.manual_seed(0)
            torch.save(raft_small(weights=None).state_dict(), weights)
            for path in paths[given.raft :]:
                path.unlink()
            raft = ["flow.method=raft_small", f"flow.raft_weights={weights}", *device]
            measure(f"this, RAFT-small, {min(given.raft, count)} videos", HERE, videos, raft)


if __name__ == "__main__":
    main()
