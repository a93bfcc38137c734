"""Clips of 16 frames of whole videos (METHOD D27): decoded anew for each clip, or read from a store of all frames.

python benchmarks/whole_videos.py DIR --videos 40
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mscl.extract.video_pass import Segment
from mscl.finetune.every_frame import FramesTask, write_frames
from mscl.ingest.annotations.trees import VIDEO_SUFFIXES
from mscl.video.clip_indices import part_indices
from mscl.video.clips import TrainClips
from mscl.video.config import DecodeLimits
from mscl.video.decoding import decode
from mscl.video.frame_recipe import FrameRecipe
from mscl.video.geometry import random_box, resize_into
from mscl.video.stored_size import shrunk, stored_size
from mscl.video.video_info import inspect_video
from storage.frame_store import FrameSpec, create_frame_store

FRAMES, CROP_PX = 16, 112


def main() -> None:
    """Print clips a second of both, what the store costs, and after how many epochs it has paid."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--short-side-px", type=int, default=256)
    given = parser.parse_args()
    found = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    paths = [found[place] for place in np.linspace(0, len(found) - 1, given.videos).astype(int)]
    segments = []
    for path in paths:
        info = inspect_video(path, limits=DecodeLimits())
        segments.append(Segment(path, 0, info.num_frames, info.height, info.width, path.stat().st_size))

    began = time.process_time()
    rng = np.random.default_rng(0)
    out = np.empty((FRAMES, CROP_PX, CROP_PX, 3), np.uint8)
    for path, segment in zip(paths, segments, strict=True):
        wanted = set(part_indices(segment.num_frames, parts=FRAMES, offsets=rng.random(FRAMES)).tolist())
        size = stored_size(segment.height, segment.width, given.short_side_px)
        decoding = decode(path, limits=DecodeLimits(), short_side=given.short_side_px)
        frames = [shrunk(frame, *size) for number, frame in enumerate(decoding) if number in wanted]
        box = random_box(*frames[0].shape[:2], area=(0.08, 1.0), aspect=(0.75, 4 / 3), rng=rng)
        frames += frames[-1:] * (FRAMES - len(frames))
        resize_into([box.of(frame) for frame in frames], out)
    decoded = time.process_time() - began

    with TemporaryDirectory() as name:
        folder = Path(name) / "frames"
        create_frame_store(folder, FrameSpec(len(segments), max(s.num_frames for s in segments), len(segments)))
        px = given.short_side_px
        recipe = FrameRecipe(gap_frames=1, span_frames=0, computed_px=px, stored_px=px, jpeg_quality=90)
        began = time.process_time()
        write_frames(FramesTask(0, tuple(segments), recipe, DecodeLimits(), folder), lambda count: None)
        stored = time.process_time() - began
        size_bytes = sum(path.stat().st_size for path in folder.iterdir())
        clips = TrainClips(
            folder, rows=np.arange(len(segments)), labels=np.zeros(len(segments), np.int64), length=FRAMES, stride=1,
            crop_px=CROP_PX, area=(0.08, 1.0), aspect=(0.75, 4 / 3), flip=0.0, sampling="segments", seed=0,
        )  # fmt: skip
        began = time.process_time()
        for epoch in range(3):
            for video in range(len(segments)):
                clips.load(epoch, np.array([video]))
        read = (time.process_time() - began) / 3
    frames_in_all = sum(segment.num_frames for segment in segments)
    print(f"{len(segments)} videos of {frames_in_all / len(segments):.0f} frames, seconds of one core")
    print(f"decoded for every clip: {decoded:.2f} s an epoch, {len(segments) / decoded:.1f} clips/s")
    print(f"all frames stored once: {stored:.2f} s and {size_bytes / frames_in_all / 1024:.1f} KiB a frame")
    print(f"read from that store:   {read:.2f} s an epoch, {len(segments) / read:.1f} clips/s")
    print(f"the store has paid after {stored / (decoded - read):.1f} epochs")


if __name__ == "__main__":
    main()
