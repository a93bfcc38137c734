"""The same preset and seed again and again: how far its scores lie apart.

    python -m benchmarks.repeatability VIDEOS --work DIR [--threads 1,2,2,2,3,4 --preset demo setting=value ...]

Flow, motion and clips are made once; pre-training, features and scores once for every number of threads named, each in
a workspace of its own. The same number again shows whether a run repeats; other numbers take sums in another order, and
show how far rounding alone moves a run's scores. Printed are the scores of every run, and mean, deviation and range
over the runs that came out differently.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean, stdev

from mscl.config import load_config
from mscl.pipeline import run_pipeline, stages_for
from mscl.score.classifier_scores import ProbeMetrics
from mscl.score.retrieval_scores import RetrievalMetrics
from storage.workspace import Workspace


def again(prepared: Path, workspace: Path, preset: str, settings: list[str]) -> dict[str, float]:
    """Scores of one more run over what is prepared."""
    if not workspace.exists():
        copying = workspace.with_suffix(".copying")
        shutil.rmtree(copying, ignore_errors=True)
        shutil.copytree(prepared, copying)
        copying.rename(workspace)
    done = run_pipeline(Workspace(workspace), load_config(preset, settings), stages=stages_for("probe", "retrieve"))
    probe = ProbeMetrics.read(done["probe"].result.record.metrics)
    retrieve = RetrievalMetrics.read(done["retrieve"].result.record.metrics)
    assert isinstance(probe, ProbeMetrics) and isinstance(retrieve, RetrievalMetrics)
    return {
        "loss": float(done["pretrain"].result.record.metrics["loss"]),
        "linear top-1, %": 100 * probe.variants["trained"].top1.value,
        "R@1, %": 100 * retrieve.variants["trained"].first.value,
    }


def main() -> None:
    """Run and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", default="1,1,2,2,2,2,2,2,2,2", help="of each run; 1,2,2 are three runs")
    parser.add_argument("--preset", default="demo")
    options = parser.parse_intermixed_args()
    root = f"data.root={options.videos.resolve()}"
    settings = [root, "finetune.enabled=false", *options.settings]
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepared = work / "prepared"
    run_pipeline(Workspace(prepared), load_config(options.preset, settings), stages=stages_for("screen"))
    found = []
    for number, threads in enumerate(options.threads.split(",")):
        on = [*settings, f"runtime.threads={threads}"]
        found.append(again(prepared, work / f"run-{number}-of-{threads}", options.preset, on))
        print(f"threads {threads}", json.dumps(found[-1]), flush=True)
    different = [one for number, one in enumerate(found) if one not in found[:number]]
    print(f"{len(found)} runs, {len(different)} of them different")
    for name in different[0]:
        values = [one[name] for one in different]
        deviation = stdev(values) if len(values) > 1 else 0.0
        print(f"{name:<16} mean {mean(values):.3f}, deviation {deviation:.3f}, {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
