"""A few hundred real videos: what pre-training on all of them, without labels, gives on each labelled set.

    python -m benchmarks.real_videos VIDEOS LISTS --work DIR [--seeds 0,1,2] [--method NAME=PRESET,setting=value,...]

VIDEOS has ucf101/<class>/, weizmann64/<action>/, surveillance_fight/<class>/ and others, which are pre-trained on as
well; LISTS the official lists of three UCF101 classes. Each method is pre-trained once a seed on all videos together,
then scored on each set by a linear classifier and by the 20 nearest train videos (k-NN), beside the untrained network
and the controls. UCF101 has its three splits; subjects of Weizmann and fights are dealt into three folds, each the test
split once. A set's score of a seed is the mean over its folds, a difference is taken seed by seed, and its interval
is Student's t over the seeds: of the luck of training, not of the choice of videos. Pre-training saw the test videos,
too, of every method alike and without labels. DIR keeps what is done, so that the command goes on where it stopped.
"""

import argparse
import json
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mscl.ablation.rows import SeedScore, as_json, difference, score
from mscl.config import load_config
from mscl.errors import DataError
from mscl.pipeline import run_pipeline, stages_for
from mscl.score.classifier_scores import ProbeMetrics
from storage.result_folder import Result
from storage.workspace import Workspace

SAME = ("runtime.threads=1", "runtime.processes=1", "runtime.device=cpu", "finetune.enabled=false")
METHODS = {"untrained": [], "moco": ["demo+moco"], "mscl": ["demo"]}
REFERENCE = "mscl"


def folds(videos: Path, lists: Path) -> dict[str, list[list[str]]]:
    """Set -> the settings of each of its folds."""
    ucf = [f"data.root={videos / 'ucf101'}", f"data.annotations={lists}", "data.max_bad_fraction=0.9"]
    people = [f"data.root={videos / 'weizmann64'}", r"data.group_pattern=subject\d+", "data.format=folders"]
    fights = [f"data.root={videos / 'surveillance_fight'}", "data.format=folders"]
    return {
        "ucf101-3": [[*ucf, f"data.split={split}"] for split in (1, 2, 3)],
        "weizmann64": [[*people, f"data.test_pattern=subject0[{three}]"] for three in ("012", "345", "678")],
        "fights": [[*fights, rf"data.test_pattern=\d[{third}]\."] for third in ("0-2", "3-5", "6-9")],
    }


def run(work: Path, preset: str, settings: Iterable[str], *, until: str) -> Result:
    """The result of a stage, and of what it reads, without Prefect; what is done is not done again."""
    config = load_config(preset, [*settings, *SAME])
    done = run_pipeline(Workspace(work / "workspace"), config, stages=stages_for(until))
    return done[until].result


def encoder_of(work: Path, method: list[str], together: Path, seed: int) -> Path:
    """The encoder of a method, pre-trained on all videos."""
    kept = work / "encoders" / f"{'_'.join(method).replace('/', '-')}-{seed}.pt"
    if not kept.exists():
        settings = [f"data.root={together}", "data.format=unlabelled", f"pretrain.seed={seed}", *method[1:]]
        trained = run(work, method[0], settings, until="pretrain")
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(trained.folder / trained.record.metrics["checkpoint"], kept)
    return kept


def scores_of(work: Path, encoder: str, settings: list[str]) -> dict[str, float]:
    """Score of each kind, controls by their names, of one fold."""
    found: dict[str, float] = {}
    for head, preset in (("linear", "demo"), ("k-NN", "demo+knn")):
        probed = run(work, preset, [*settings, f"pretrain.encoder={encoder}"], until="probe")
        metrics = ProbeMetrics.read(probed.record.metrics)
        if not isinstance(metrics, ProbeMetrics):
            raise DataError(f"nothing to score: {metrics.reason}")
        found |= {f"{head} {name}": scores.top1.value for name, scores in metrics.variants.items()}
    return found


def gather(videos: Path, work: Path) -> Path:
    """All videos in one folder, a folder a set."""
    together = work / "together"
    if not together.exists():
        shutil.copytree(videos, work / "copying", ignore=shutil.ignore_patterns("*.csv"), dirs_exist_ok=True)
        (work / "copying").rename(together)
    return together


def show(rows: list[SeedScore], methods: Iterable[str]) -> None:
    """A table a set: method by kind of score, with what the reference has more."""
    for name in dict.fromkeys(row.set for row in rows):
        of_set = [row for row in rows if row.set == name]
        print(f"\n{name}")
        for method in methods:
            for kind in sorted({row.metric for row in of_set if row.preset == method}):
                mean = score(of_set, method, kind)
                assert mean is not None
                line = f"  {method:<18} {kind:<24} {100 * mean.mean:5.1f}"
                more = difference(of_set, REFERENCE, method, kind)
                if more is not None and kind.endswith(" trained") and method != REFERENCE:
                    width = "" if math.isnan(more.half_width) else f" ± {100 * more.half_width:.1f}"
                    line += f"   {REFERENCE} minus it {100 * more.mean:+.1f}{width}"
                print(line)


def main() -> None:
    """Train, score and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("lists", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--method", action="append", default=[], help="NAME=PRESET,setting=value,...")
    options = parser.parse_args()
    methods = METHODS | {name: rest.split(",") for name, _, rest in (one.partition("=") for one in options.method)}
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    together = gather(options.videos.resolve(), work)
    rows: list[SeedScore] = []
    for seed in (int(one) for one in options.seeds.split(",")):
        for method, preset in methods.items():
            encoder = str(encoder_of(work, preset, together, seed)) if preset else "random"
            for name, settings in folds(options.videos.resolve(), options.lists.resolve()).items():
                of_fold = [
                    scores_of(work, encoder, [*one, *([] if preset else [f"pretrain.seed={seed}"])]) for one in settings
                ]
                rows += [
                    SeedScore(name, method, seed, kind, sum(one[kind] for one in of_fold) / len(of_fold))
                    for kind in of_fold[0]
                ]
        print(f"after seed {seed}", flush=True)
        show(rows, methods)
        (work / "scores.json").write_text(json.dumps(as_json(rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
