"""Clips of the stores for other programs: how fast they are read and written, beside what one would do without.

    python -m benchmarks.stored_clips VIDEOS [--videos 16] [--samples 200] [--seed 0]

Videos drawn at random go through ingest, extract (DIS) and screen at the sizes of the preset `ucf101`. Then, in clips
per second of CPU time of this process, one thread, files in the page cache, in the order of a permutation:

    open_clips          frames and flow, as `mscl.open_clips` gives them
    without flow        the frames alone
    PyAV                the frames of the same clips, decoded from the video files: every frame up to the last of the
                        clip, those of the clip as RGB arrays; no flow, not resized
    zarr-python         the fields of the same clips out of the same store; no frames
    WebDataset, read    the samples of exported shards, decoded: by tarfile, and by webdataset where it is installed
    export              what `mscl motion export` writes, in clips and in fields, and its size by the stores'

Rates of our own beside the others are the ratios to look at; they are printed in the last lines.
"""

import argparse
import importlib.util
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import simplejpeg
import torch
import zarr

from benchmarks.extract import SUFFIXES
from mscl.clips.dataset import StoredClips
from mscl.clips.export import export_clips
from mscl.clips.open_clips import open_clips
from mscl.clips.screened import screened_clips
from mscl.config import load_config
from mscl.pipeline import run_pipeline, stages_for
from storage.layout import Extracted
from storage.workspace import Workspace

_SETTINGS = ("flow.method=dis", "runtime.workers=1", "runtime.threads=1", "data.format=unlabelled")


class Rates:
    """Units per CPU second, by what was done."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def clock(self, name: str, units: Iterator[object], *, noun: str = "clips") -> None:
        """Exhaust `units`, each of them one, and print the rate."""
        begun = time.process_time()
        count = sum(1 for _ in units)
        self.of[name] = count / (time.process_time() - begun)
        print(f"{name:<28} {self.of[name]:8.1f} {noun} per CPU second", flush=True)


def by_pyav(clips: StoredClips, root: Path, numbers: list[int]) -> Iterator[object]:
    for number in numbers:
        facts = clips.facts(number)
        wanted = {
            facts["start_frame"] + clips.gap_frames * clips.clip.stride * place for place in range(clips.clip.length)
        }
        found = []
        with av.open(str(root / facts["video"]), metadata_errors="ignore") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for place, frame in enumerate(container.decode(video=0)):
                if place in wanted:
                    found.append(frame.to_ndarray(format="rgb24"))
                if place == max(wanted):
                    break
        yield found


def by_zarr(clips: StoredClips, store: Path, numbers: list[int]) -> Iterator[object]:
    group: Any = zarr.open_group(store, mode="r")
    flow, height, width = group["flow"], group["height"][:], group["width"][:]
    scale = np.float32(flow.attrs["scale"])
    for number in numbers:
        segment, indices = int(clips.segments_N[number]), clips.indices(number)
        stop, step = int(indices[-1]) + 1, clips.clip.stride
        yield flow[segment, int(indices[0]) : stop : step, :, : height[segment], : width[segment]] * scale


def by_tarfile(shards: list[Path]) -> Iterator[object]:
    for path in shards:
        last = ""
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                data = content.read() if content else b""
                if member.name.endswith(".jpg"):
                    simplejpeg.decode_jpeg(data)
                elif member.name.endswith(".npz"):
                    np.load(BytesIO(data))["flow"]
                key = member.name.partition(".")[0]
                if key != last:
                    yield key
                last = key


def by_webdataset(shards: list[Path]) -> Iterator[object]:
    import webdataset

    yield from webdataset.WebDataset([str(path) for path in shards], shardshuffle=False).decode("rgb8")


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--videos", dest="count", type=int, default=16)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    found = sorted(path.resolve() for path in options.videos.rglob("*") if path.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        root, place = Path(scratch) / "videos", Workspace(Path(scratch) / "workspace")
        root.mkdir()
        for number, path in enumerate(rng.permutation(np.array(found, dtype=object))[: options.count]):
            shutil.copyfile(path, root / f"{number:03d}{path.suffix}")
        config = load_config("ucf101", [*_SETTINGS, f"data.root={root}"])
        run_pipeline(place, config, stages=stages_for("screen"))
        clips, frames_only = open_clips(place), open_clips(place, flow=False)
        stores = screened_clips(place)
        extracted = Extracted(stores.extract.folder)
        numbers = rng.permutation(len(clips))[: options.samples].tolist()
        shape = tuple(clips[numbers[0]]["frames"].shape)
        print(f"{len(clips)} clips of {len(stores.manifest())} segments, e.g. {shape}; {len(numbers)} of them are read")
        rates = Rates()
        for _ in range(2):  # the first time warms the page cache
            rates.clock("open_clips", (clips[number] for number in numbers))
            rates.clock("open_clips, without flow", (frames_only[number] for number in numbers))
            rates.clock("PyAV, no flow", by_pyav(clips, root, numbers[:50]))
            rates.clock("zarr-python, no frames", by_zarr(clips, extracted.flow, numbers))
        stored = size(extracted.flow) + size(extracted.frames)
        num_fields = int(stores.flow().num_fields.sum())
        for form in ("webdataset", "flo", "png", "npz"):
            out = Path(scratch) / form
            begun = time.process_time()
            done = export_clips(place, form, out, clips_per_shard=200 if form == "webdataset" else None)
            rate = (done.size if form == "webdataset" else num_fields) / (time.process_time() - begun)
            what = "clips" if form == "webdataset" else "fields"
            print(f"export, {form:<20} {rate:8.1f} {what} per CPU second, {size(out) / stored:.1f} x the stores' size")
        shards = sorted((Path(scratch) / "webdataset").glob("*.tar"))[:2]
        rates.clock("WebDataset, by tarfile", by_tarfile(shards))
        if importlib.util.find_spec("webdataset"):
            rates.clock("WebDataset, by webdataset", by_webdataset(shards))
    ours = rates.of["open_clips"]
    print(f"open_clips over PyAV: {ours / rates.of['PyAV, no flow']:.1f}, with the flow that PyAV has not")
    print(f"open_clips over zarr-python: {ours / rates.of['zarr-python, no frames']:.1f}, with the frames, too")


if __name__ == "__main__":
    main()
