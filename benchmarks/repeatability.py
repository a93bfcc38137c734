"""The same preset and seed again and again: how far its scores lie apart.

    python -m benchmarks.repeatability VIDEOS --work DIR [--runs 8 --threads 2 --preset demo setting=value ...]

Flow, motion and clips are made once; pre-training, features and scores `--runs` times, each in a workspace of its own.
With one thread the scores are the same to the last digit; with more, sums are taken in another order each time.
Printed are the scores of every run, their mean, standard deviation and range.
"""

import argparse
import json
import shutil
from pathlib import Path

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
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--preset", default="demo")
    options = parser.parse_args()
    root = f"data.root={options.videos.resolve()}"
    settings = [root, "finetune.enabled=false", f"runtime.threads={options.threads}", *options.settings]
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepared = work / "prepared"
    run_pipeline(Workspace(prepared), load_config(options.preset, settings), stages=stages_for("screen"))
    found = []
    for number in range(options.runs):
        found.append(again(prepared, work / f"run-{options.threads}-{number}", options.preset, settings))
        print(number, json.dumps(found[-1]), flush=True)
    for name in found[0]:
        values = [one[name] for one in found]
        mean = sum(values) / len(values)
        deviation = (sum((one - mean) ** 2 for one in values) / max(len(values) - 1, 1)) ** 0.5
        print(f"{name:<16} mean {mean:.3f}, deviation {deviation:.3f}, {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
