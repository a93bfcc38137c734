"""An ablation on real videos, through the stages: rows of every run, and nothing trained twice."""

from dataclasses import replace
from pathlib import Path

import torch

from mscl.ablation.cost import step_costs
from mscl.ablation.plan import AblationPlan, Sweep
from mscl.ablation.rows import LINEAR, RETRIEVAL
from mscl.ablation.run import run_ablation
from mscl.ablation.run_scores import superclass_set, superclass_top1
from mscl.config import load_config
from mscl.progress import Silent
from storage.garbage import garbage
from storage.json_files import write_json
from storage.workspace import Workspace
from tests.ranks_here import ranks_here
from tests.tiny import copy_stages


def test_moco_costs_less_a_step_than_mscl(tiny: Path) -> None:
    presets = {"mscl": f"{tiny}", "moco": f"{tiny}+moco"}
    configs = {name: load_config(preset, ["pretrain.batch_size=8"]) for name, preset in presets.items()}
    costs = step_costs(configs, device=torch.device("cpu"), rounds=3)
    assert 0 < costs["moco"] < costs["mscl"]


def test_rows_of_every_run_and_a_second_call_trains_nothing(tiny: Path, tiny_workspace: Path, tmp_path: Path) -> None:
    """Over stages that are there already; every run trains an encoder of its own."""
    done = ("ingest", "extract", "motion", "screen")
    workspace = Workspace(copy_stages(tiny_workspace, tmp_path / "workspace", done))
    plan = AblationPlan(
        name="tiny", base=str(tiny), variants=("mscl", "moco"), seeds=(3,),
        sweeps=(Sweep(variant="moco", setting="pretrain.optim.lr", values=("0.001",)),),
        overrides=(
            "probe.l2=[1.0]", "probe.superclasses={r: [MoveRight], l: [MoveLeft]}",
            "retrieve.superclasses={r: [MoveRight], l: [MoveLeft]}",
        ),
    )  # fmt: skip
    with ranks_here():
        first = run_ablation(workspace, plan, progress=Silent())
    found = {(row.preset, row.seed, row.metric) for row in first.rows}
    for preset in ("mscl", "moco", "moco lr=0.001", "random"):
        assert {(preset, 3, RETRIEVAL), (preset, 3, LINEAR)} <= found
    assert all(0 <= row.value <= 1 for row in first.rows)
    by_class = {row for row in first.rows if row.set == "tiny" and row.metric.startswith(RETRIEVAL)}
    coarse = {replace(row, set="tiny") for row in first.rows if row.set == superclass_set("tiny")}
    assert by_class and by_class <= coarse  # here each superclass is a class
    assert f"## {superclass_set('tiny')}" in (first.result.folder / "ablation.md").read_text()
    assert len(list((workspace.root / "pretrain").iterdir())) == 2
    assert garbage(workspace) == []  # it was made of every run and score

    again = run_ablation(workspace, plan, progress=Silent())
    assert again.rows == first.rows and again.result.key == first.result.key
    assert len(list((workspace.root / "pretrain").iterdir())) == 2


def test_a_classifier_of_classes_is_scored_by_superclasses_too(tmp_path: Path) -> None:
    # 10 videos: right by class 2 + 1 + 3, by superclass also the one of a called b.
    confusion = [[2, 1, 1], [0, 1, 1], [1, 0, 3]]
    write_json(tmp_path / "metrics.json", {"classes": ["a", "b", "c"], "confusion": confusion})
    assert superclass_top1(tmp_path, {"ab": ["a", "b"], "only c": ["c"]}) == 0.7
    assert superclass_top1(tmp_path, {"a": ["a"], "b": ["b"], "c": ["c"]}) == 0.6
