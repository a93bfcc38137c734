"""What pretrain has to show: every loss term over the steps, and where it ended."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mscl.display.blocks import Block, Chart, Note, Table
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.figures import LOSS_NAMES, loss_curves
from mscl.stage.view import Stages
from mscl.training.progress import METRICS_NAME
from mscl.video.config import ClipConfig
from storage.json_lines import read_json_lines


def pretrain_blocks(stages: Stages) -> list[Block]:
    """Every loss term over the steps, and where it ended."""
    view = stages["pretrain"]
    if "given" in view.metrics:
        return [Note(f"Nothing was trained: the encoder was given, {view.metrics['given']}.")]
    rows = read_json_lines(view.folder / METRICS_NAME)
    if not rows:
        return [Note("No step of the training is left in its metrics.jsonl.")]
    loss = PretrainConfig.model_validate(view.config["pretrain"]).loss
    clip = ClipConfig.model_validate(view.config.get("clip", {}))
    times = -(-clip.length // 2)  # both streams halve the clip in time
    blocks: list[Block] = [
        Chart(
            loss_curves(rows, chance=partial(loss.chance, times=times)),
            caption="The terms of the loss (METHOD 1.6); faint: each logged step",
        )
    ]
    tail = rows[-max(1, len(rows) // 20) :]
    ends = [
        (
            title,
            f"{_mean(tail, name):.3f}",
            f"{100 * _mean(tail, f'{name}_top1'):.1f} %" if f"{name}_top1" in tail[-1] else "",
        )
        for name, title in LOSS_NAMES.items()
        if name in tail[-1]
    ]
    if ends:
        blocks.append(
            Table(("term", "loss", "top-1"), tuple(ends), caption="Mean over the last twentieth of the training")
        )
    first, last = rows[0].get("step"), rows[-1].get("step")
    if (first, last) != (1, view.metrics.get("steps", last)):
        blocks.append(Note(f"The curve is not whole: metrics.jsonl, once damaged, holds steps {first} to {last}."))
    return blocks


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows if name in row]))
