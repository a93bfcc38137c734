"""Two-view samples from the stores against decoding the same videos on the fly, in clips per CPU-second.

    python -m benchmarks.loader [FOLDER_OF_VIDEOS] [--videos 24] [--samples 400] [--batch 4 --steps 5] [--json FILE]

Ours: frames and normalised flow of both views, drawn, cropped and resized to 112 px (`ClipDataset.load`), from stores
at short side 128. Theirs, PyAV, frames cropped and resized alike:

    habit     every frame up to the last one wanted becomes RGB, once per clip, as mmaction2's PyAVDecode. No flow.
    lean      only the wanted frames become RGB, once per clip. No flow.
    one_pass  as lean, but one decode serves both views: as favourable as it gets. No flow.
    whole     as one_pass, and DIS flow, the cheapest there is, of the fields that the sample needs: the same sample.

Last, what the wait for data takes of a training step on CPU at 112 px, one worker (target: under 5 %).

None of the ways seeks: with B-frames, seeking by time gives wrong frames in many files. One thread each, files in the
page cache, CPU time of this process.

Without a folder, videos are generated: noise that moves, so flow and JPEG are as dense as they get.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mscl.config import load_config
from mscl.extract.config import FlowConfig
from mscl.pretrain.augment import Augment
from mscl.pretrain.config import AugmentConfig
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.two_starts import ChosenStarts, two_starts
from mscl.training.loader import make_loader
from mscl.video.clip_indices import clip_indices, sample_rng
from mscl.video.config import ClipConfig
from mscl.video.geometry import random_box, resize_into
from mscl.views import FIELD_STEP, RawBatch
from storage.flow_store import FlowShardWriter, FlowSpec, create_flow_store, finalise_flow_store
from storage.frame_store import FrameShardWriter, FrameSpec, create_frame_store, encode_jpeg

GAP_FRAMES, SPAN_FRAMES, SHORT_SIDE_PX, CROP_PX = 2, 8, 128, 112
CLIP = ClipConfig(length=8, stride=8)
AUGMENT = AugmentConfig(crop_px=CROP_PX)
WAYS = ("habit", "lean", "one_pass", "whole")


def decode(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        yield from container.decode(stream)


def at_store_size(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The frame at short side 128."""
    factor = SHORT_SIDE_PX / min(image.shape[:2])
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def flow_of(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """DIS flow in px, (H, W, 2)."""
    flow = np.zeros((*first.shape, 2), dtype=np.float32)
    cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, flow)
    return flow


def write_stores(folder: Path, videos: Sequence[Path]) -> list[int]:
    """Both stores, DIS flow; number of fields of every video."""
    fields: list[NDArray[np.float32]] = []
    jpegs: list[list[bytes]] = []
    for path in videos:
        frames = [at_store_size(frame.to_ndarray(format="rgb24")) for frame in decode(path)]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        pairs = zip(grey[::GAP_FRAMES], grey[SPAN_FRAMES::GAP_FRAMES], strict=False)
        fields.append(np.stack([flow_of(first, second) for first, second in pairs]))
        jpegs.append([encode_jpeg(frame, quality=90) for frame in frames[::GAP_FRAMES][: len(fields[-1])]])
    flow, frames_folder = folder / "flow.zarr", folder / "frames"
    count = max(len(f) for f in fields)
    height, width = (max(f.shape[axis] for f in fields) for axis in (1, 2))
    create_flow_store(
        flow,
        FlowSpec(
            segments=len(videos),
            max_fields=count,
            height=height,
            width=width,
            segments_per_shard=len(videos),
            quantiser=FlowConfig().quantiser,
            coding=FlowConfig().coding,
        ),
    )
    create_frame_store(frames_folder, FrameSpec(segments=len(videos), max_frames=count, segments_per_shard=len(videos)))
    FlowShardWriter(flow, 0).write(fields)
    FrameShardWriter(frames_folder, 0).write(jpegs)
    finalise_flow_store(flow)
    return [len(f) for f in fields]


def on_the_fly(path: Path, num_fields: int, rng: np.random.Generator, out: NDArray[np.uint8], how: str) -> None:
    """RGB of both views by decoding the video, in one of the ways of the module's docstring."""
    pair = two_starts(np.arange(num_fields), num_fields, length=CLIP.length, stride=CLIP.stride, rng=rng)
    clips = [
        GAP_FRAMES * clip_indices(start, length=CLIP.length, stride=CLIP.stride, num_indices=num_fields)
        for start in pair
    ]
    pairs = {(int(i), int(i) + SPAN_FRAMES) for clip in clips for i in clip[::FIELD_STEP]} if how == "whole" else set()
    shared: dict[int, NDArray[Any]] = {}
    if how in {"one_pass", "whole"}:
        shared = pick(path, {int(i) for clip in clips for i in clip} | {i for two in pairs for i in two}, how)
    for indices, target in zip(clips, out, strict=True):
        images = shared or pick(path, set(indices.tolist()), how)
        first = next(iter(images.values()))
        box = random_box(*first.shape[:2], area=AUGMENT.area, aspect=AUGMENT.aspect, rng=rng)
        resize_into([box.of(images[index]) for index in indices.tolist()], target)
    for first_index, second_index in pairs:
        grey = [cv2.cvtColor(at_store_size(shared[i]), cv2.COLOR_RGB2GRAY) for i in (first_index, second_index)]
        flow_of(*grey)


def pick(path: Path, indices: set[int], how: str) -> dict[int, NDArray[Any]]:
    last = max(indices)
    images: dict[int, NDArray[Any]] = {}
    for index, frame in enumerate(decode(path)):
        if index in indices or how == "habit":
            images[index] = frame.to_ndarray(format="rgb24")
        if index == last:
            break
    return images


def clips_per_cpu_second(work: Callable[[int], None], samples: int) -> float:
    work(0)
    start = time.process_time()
    for sample in range(samples):
        work(sample)
    return 2 * samples / (time.process_time() - start)


def waiting_share(dataset: ClipDataset, *, batch_size: int, steps: int, output: Path) -> float:
    """Share of the wall time of a training step that is spent waiting for the next batch of one worker process.

    Steps of the paper's R18 at 112 px in this process, on CPU, one thread, as `mscl.pretrain.fit_mscl` takes them;
    the first is left out: its wait is the start of the worker.
    """
    import torch

    from mscl.pretrain.fit_mscl import fit_mscl
    from mscl.training.distributed import World
    from mscl.training.fit import StopRequest

    torch.set_num_threads(1)
    config = load_config("kinetics400-r18").pretrain
    config = config.model_copy(
        update={
            "batch_size": batch_size,
            "epochs": 1,
            "accumulate": 1,
            "precision": "fp32",
            "loss": config.loss.model_copy(update={"queue_size": 1024 * batch_size}),
        }
    )
    waited: list[float] = []
    worked: list[float] = []

    @contextmanager
    def batches_from(start: int) -> Iterator[Iterator[RawBatch]]:
        with make_loader(dataset, batch_size=batch_size, start_step=start, total_steps=steps, workers=1) as loader:
            yield clocked(iter(loader))

    def clocked(batches: Iterator[RawBatch]) -> Iterator[RawBatch]:
        while True:
            asked = time.perf_counter()
            raw = next(batches, None)
            if raw is None:
                return
            given = time.perf_counter()
            yield raw
            waited.append(given - asked)
            worked.append(time.perf_counter() - given)

    fit_mscl(
        config,
        batches_from,
        Augment(
            config.augment,
            rotation_q=config.loss.encodes_rotated_query,
            rotation_k=config.loss.encodes_rotated_key,
        ),
        steps_per_epoch=steps,
        output=output,
        world=World(0, 1, torch.device("cpu")),
        stop=StopRequest(),
    )
    return sum(waited[1:]) / (sum(waited[1:]) + sum(worked[1:]))


def draw_videos(folder: Path, count: int, *, width: int = 320, height: int = 240) -> list[Path]:
    """H.264 files of noise that moves."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number:03d}.mp4"
        texture = cv2.GaussianBlur(rng.integers(0, 256, (2 * height, 2 * width, 3), dtype=np.uint8), (0, 0), 3).astype(
            np.uint8
        )
        with av.open(str(path), "w") as container:
            stream = container.add_stream("h264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for step in range(120):
                image = np.ascontiguousarray(texture[step : step + height, 2 * step : 2 * step + width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        paths.append(path)
    return paths


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="training steps to see how long they wait; 0: none")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.folder is None:
            videos = draw_videos(folder, options.videos)
        else:
            found = sorted(p for p in options.folder.rglob("*") if p.suffix in {".avi", ".mp4", ".mkv", ".webm"})
            videos = found[:: max(1, len(found) // options.videos)][: options.videos]
        num_fields = write_stores(folder, videos)
        dataset = ClipDataset(
            folder / "flow.zarr",
            folder / "frames",
            segments=np.arange(len(videos)),
            chosen=ChosenStarts.from_arrow(pa.chunked_array([[list(range(count)) for count in num_fields]])),
            clip=CLIP,
            augment=AUGMENT,
        )
        out = np.empty((2, CLIP.length, CROP_PX, CROP_PX, 3), dtype=np.uint8)

        def stored(sample: int) -> None:
            dataset.load(0, np.arange(8 * sample, 8 * sample + 8) % len(videos))

        def decoded(how: str) -> Callable[[int], None]:
            def work(sample: int) -> None:
                row = sample % len(videos)
                on_the_fly(videos[row], num_fields[row], sample_rng(0, 0, row), out, how)

            return work

        # As many samples as take seconds, not minutes: decoding is the slow side.
        few = min(len(videos), max(1, options.samples // 10))
        rates: dict[str, float] = {
            "videos": len(videos),
            "fields_median": float(np.median(num_fields)),
            "ours": 8 * clips_per_cpu_second(stored, max(1, options.samples // 8)),
        } | {f"pyav_{how}": clips_per_cpu_second(decoded(how), few) for how in WAYS}
        if options.steps:
            share = waiting_share(dataset, batch_size=options.batch, steps=options.steps, output=folder / "training")
            rates["waiting_percent"] = 100 * share
    rates |= {f"ratio_{how}": rates["ours"] / rates[f"pyav_{how}"] for how in WAYS}
    for name, value in rates.items():
        print(f"{name:22} {value:10.1f}")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
