"""A pipeline of seconds: twelve small videos of two classes, four steps of training, one thread."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mscl.progress import Silent

TINY = """\
base: demo
data: {{root: {root}, classes: [MoveRight, MoveLeft]}}
flow: {{method: dis, segments_per_shard: 2}}
pretrain:
  model: {{rgb_width: 0.0625, flow_width: 0.25, embed_dim: 16, neck_channels: 8}}
  loss: {{queue_size: 16}}
  augment: {{crop_px: 24}}
  optim: {{warmup_epochs: 0}}
  epochs: 2
  min_steps: 4
  batch_size: 4
  checkpoint_minutes: 0.0001
embed: {{clips: 1, crop_px: 24}}
finetune: {{enabled: false}}
runtime: {{device: cpu, workers: 1, loader_workers: 0, processes: 1, threads: 1}}
"""
FINETUNE = [
    "finetune.enabled=true", "finetune.epochs=2", "finetune.milestones=1", "finetune.crop_px=24",
    "finetune.test_crop_px=24", "finetune.frames=4", "finetune.stride=2", "finetune.batch_size=4",
]  # fmt: skip
"""Settings with which `TINY` fine-tunes, too."""


_WITH_WORKERS = {
    "finetune: {{enabled: false}}": "finetune: {{epochs: 2, batch_size: 4, crop_px: 24, test_crop_px: 24}}",
    "loader_workers: 0, processes: 1": "loader_workers: 1, processes: 2",
}


def write_tiny(folder: Path, *, with_workers: bool = False) -> Path:
    """Write the videos and the configuration file over them; returns the file.

    Args:
        with_workers: fine-tuning, too, and two ranks with a loader worker for each.
    """
    from mscl.demo.dataset import write_demo_dataset

    made = write_demo_dataset(folder / "data", train_per_class=4, test_per_class=2)
    path = folder / "tiny.yaml"
    text = TINY
    for plain, other in _WITH_WORKERS.items() if with_workers else ():
        assert plain in text
        text = text.replace(plain, other)
    path.write_text(text.format(root=made.videos))
    return path


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def run_tiny(folder: Path, config: Path) -> None:
    """The whole pipeline without Prefect, in `folder/workspace`; `folder/told.json` has what was said and reused."""
    from mscl.config import load_config
    from mscl.pipeline import execute, run_pipeline
    from storage.workspace import Workspace
    from tests.ranks_here import ranks_here

    listening = Listening()
    with ranks_here():
        outcomes = run_pipeline(
            Workspace(folder / "workspace"), load_config(str(config)), run_one=partial(execute, progress=listening)
        )
    reused = {name: outcome.reused for name, outcome in outcomes.items()}
    (folder / "told.json").write_text(json.dumps({"said": listening.said, "reused": reused}))


def copy_stages(workspace: Path, folder: Path, stages: Sequence[str]) -> Path:
    """A workspace in `folder` with the results of these stages alone; returns `folder`."""

    def others(place: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(place) == workspace and name[0] != "." and name not in stages]

    return Path(shutil.copytree(workspace, folder, ignore=others))
