"""Embedding of video files: decoding alone, the model alone, and `mscl.embed`, which does both at once.

Run: python -m benchmarks.embed [--videos 24] [--width 0.25] [--clips 4]
One thread decodes in the first measurement, one computes in the second; in the third both work at once, as in
`mscl.embed`. The ratio is the slower one's time over that of both: 1 is a perfect overlap, and half of the two's sum is
possible where there are cores for it. A narrow encoder is the default, for it costs as much as decoding: where one of
the two dwarfs the other there is nothing to overlap. CPU seconds say what overlapping costs, whatever else the machine
does: of both as much as of each alone is none.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mscl.video.file_clips import Clips, each_file, file_clips


def write_videos(folder: Path, count: int, *, frames: int, height: int = 256, width: int = 340) -> list[Path]:
    """H.264 videos of textured patches that move: as costly to decode as real ones of that size."""
    from mscl.demo.dataset import encode_h264

    paths = [folder / f"v{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        draws = np.random.default_rng(number)
        ground = np.repeat(np.repeat(draws.integers(0, 255, (height // 4, width // 4, 3), np.uint8), 4, 0), 4, 1)
        pictures = (np.roll(ground, (2 * step, 3 * step), (0, 1)) for step in range(frames))
        encode_h264(path, pictures, fps=25, height=height, width=width)
    return paths


def timed(call: Callable[[], object], runs: int) -> tuple[float, float]:
    """Least wall-clock and CPU seconds of several runs."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--width", type=float, default=0.25, help="of the encoder; 1 is R3D-18")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    import mscl
    from mscl.config import ModelConfig
    from mscl.embedding.encoder_input import assumed_input
    from mscl.models.encoders import untrained_encoder
    from mscl.video.normalise import normalise_rgb

    torch.set_num_threads(1)
    encoder = untrained_encoder(ModelConfig(rgb_width=arguments.width), seed=0).to(memory_format=torch.channels_last_3d)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_videos(Path(folder), arguments.videos, frames=arguments.frames)

        encoder_input = encoder.input = assumed_input().model_copy(update={"clips": arguments.clips})

        def cut(path: Path) -> Clips:
            (clips_KTHW3,) = file_clips(path, encoder_input)
            return clips_KTHW3

        clips = [cut(path) for path in paths]

        @torch.inference_mode()
        def model() -> None:
            for clip in clips:
                rgb = normalise_rgb(torch.from_numpy(clip))
                encoder(rgb.to(memory_format=torch.channels_last_3d))

        found = mscl.embed(paths[:2], encoder)
        assert found.videos == paths[:2], found.failed
        decode_wall, decode_cpu = timed(lambda: [cut(path) for path in paths], arguments.runs)
        model_wall, model_cpu = timed(model, arguments.runs)
        both_wall, both_cpu = timed(lambda: mscl.embed(paths, encoder), arguments.runs)
        ahead_wall, ahead_cpu = timed(lambda: list(each_file(paths, cut)), arguments.runs)
    print(f"decode alone   {decode_wall:7.2f} s   {decode_cpu:7.2f} CPU s   {arguments.videos} videos, one thread")
    print(f"decode ahead   {ahead_wall:7.2f} s   {ahead_cpu:7.2f} CPU s   as in both, without the model")
    print(f"model alone    {model_wall:7.2f} s   {model_cpu:7.2f} CPU s   one thread")
    print(f"both           {both_wall:7.2f} s   {both_cpu:7.2f} CPU s")
    print(
        f"ratio          {max(decode_wall, model_wall) / both_wall:7.2f}     the slower alone over both (target 0.90)"
    )
    print(f"CPU            {(decode_cpu + model_cpu) / both_cpu:7.2f}     of each alone over both (1: it is free)")


if __name__ == "__main__":
    main()
