"""How many of the clips that the pipeline chooses cross a cut, from videos to the screen.

    python -m benchmarks.clips_across_cuts VIDEOS [--joins 20] [--seed 0]

Two videos of VIDEOS, drawn at random, are joined by a cut, a dissolve or a fade through black (`benchmarks.cuts`), and
go through ingest, extract, motion and screen with `data.cuts=split` and `ignore`. A clip crosses the join where its
first frame lies before the middle of it and the last that its frames and fields read does not. Beside them the same
screen, not told of any cut: motion differential sampling alone likes cuts, for motion changes there most.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.cuts import JOINS, frames_of, joined, videos_below, write
from mscl.clips.screened import ScreenedClips, screened_clips
from mscl.config import load_config
from mscl.motion.screen_stage import screen_segment
from mscl.pipeline import run_pipeline, stages_for
from storage.workspace import Workspace

_LEAST = 60
_SETTINGS = ("flow.method=dis", "runtime.workers=1", "runtime.threads=1")


def crossing(stores: ScreenedClips, middles: dict[str, int], *, told: bool = True) -> tuple[int, int, int]:
    """(chosen clips that cross a join, clips that could, all chosen clips).

    `told`: as the screen chose them; else as it would have without knowing of cuts.
    """
    flow, clip, motion = stores.flow_config, stores.clip, stores.motion_store()
    reach = flow.gap_frames * (clip.span - 1) + flow.span_frames
    across = could = total = 0
    for segment, row in enumerate(stores.manifest().rows()):
        chosen = stores.table.chosen(segment)
        if not told:
            differences, p99 = motion.differences(segment), motion.magnitude_p99(segment)
            config = load_config("demo").screen
            chosen = np.array(screen_segment(segment, differences, p99, clip=clip, config=config).chosen, np.int32)
        first = row.first_frame + flow.gap_frames * np.arange(len(stores.table.scores(segment)))
        crosses = (first < middles[row.video]) & (first + reach >= middles[row.video])
        across += int(crosses[chosen].sum())
        could += int(crosses.sum())
        total += len(chosen)
    return across, could, total


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--joins", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    draw = np.random.default_rng(options.seed)
    long = videos_below(options.videos, least=_LEAST)
    with tempfile.TemporaryDirectory() as scratch:
        for kind in JOINS:
            root = Path(scratch) / kind.replace(" ", "") / "joins"
            root.mkdir(parents=True)
            middles = {}
            for number in range(options.joins):
                a, b = draw.choice(len(long), 2, replace=False)
                frames, middles[f"{number}.mp4"] = joined(frames_of(long[a]), frames_of(long[b]), kind)
                write(root / f"{number}.mp4", frames)
            print(kind, flush=True)
            for cuts in ("split", "ignore"):
                place = Workspace(root.parent / cuts)
                settings = [*_SETTINGS, f"data.root={root}", "data.format=unlabelled", f"data.cuts={cuts}"]
                run_pipeline(place, load_config("demo", settings), stages=stages_for("screen"))
                stores = screened_clips(place)
                across, could, total = crossing(stores, middles)
                print(f"  data.cuts={cuts:<7} {across} of {total} chosen clips cross the join, of {could} that could")
            across, could, total = crossing(stores, middles, told=False)
            share = f"{across / could:.0%} of {could} that could" if could else "none could"
            print(f"  not told of cuts  {across} of {total} chosen clips cross the join, {share}", flush=True)


if __name__ == "__main__":
    main()
