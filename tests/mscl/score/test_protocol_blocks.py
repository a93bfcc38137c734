"""Protocols in the report: in full, with what was changed; and the runs behind a mean."""

from pathlib import Path

import pytest

from mscl.config import load_config
from mscl.display.blocks import Table
from mscl.score.blocks import run_blocks
from mscl.score.classifier_scores import ClassifierScores
from mscl.score.protocol import protocol_blocks
from mscl.stage.view import StageView


def _view(name: str, config: dict[str, object], **metrics: object) -> StageView:
    return StageView(name, "0" * 16, Path(), config=config, metrics=metrics)


def test_a_protocol_is_printed_in_full_with_what_was_changed() -> None:
    changes = ["finetune.epochs=20", "finetune.seeds=0,1", "finetune.area=0.2,1"]
    config = load_config("demo+finetune-ssv2", changes)
    view = _view("finetune", {"finetune": config.finetune.model_dump(mode="json")})
    [table] = protocol_blocks({"finetune": view}, "finetune")
    assert isinstance(table, Table)
    assert table.caption == "Protocol finetune-ssv2 in full, 2 settings changed"
    rows = {setting: (value, other) for setting, value, other in table.rows}
    assert rows["finetune.epochs"] == ("20", "protocol: 22")
    assert rows["finetune.optim.lr"] == ("0.12", "") and rows["finetune.seeds"] == ("0, 1", "")
    assert rows["finetune.area"] == ("0.2, 1", "protocol: 0.08, 1") and rows["finetune.frames_from"] == ("video", "")
    assert len(rows) == len(config.finetune.model_dump()) - 2 + len(config.finetune.optim.model_dump())


def test_protocols_on_features_show_how_those_were_made() -> None:
    config = load_config("demo+knn", ["embed.clips=2"])
    sections = {name: getattr(config, name).model_dump(mode="json") for name in ("clip", "embed", "probe")}
    stages = {
        "embed": _view("embed", {name: sections[name] for name in ("clip", "embed")}),
        "probe": _view("probe", {"probe": sections["probe"]}),
    }
    [table] = protocol_blocks(stages, "probe", [1])
    assert isinstance(table, Table)
    rows = {setting: (value, other) for setting, value, other in table.rows}
    assert rows["embed.clips"] == ("2", "protocol: 10") and rows["clip.length"] == ("8", "")
    assert rows["probe.head"] == ("knn", "")
    assert rows["probe.splits"] == ("–", ""), "the split that was trained on"


@pytest.mark.parametrize(
    ("overlay", "change", "beside"),
    [
        ("finetune-diving48", "finetune.milestone_factor=0.1", "protocol: 0.3"),
        ("finetune-ucf101", "finetune.milestone_factor=0.1", ""),
        ("retrieval", "retrieve.centre=gallery", "protocol: own"),
        ("retrieval", "retrieve.index=faiss", "protocol: exact"),
    ],
)
def test_what_a_record_leaves_out_is_compared_too(overlay: str, change: str, beside: str) -> None:
    """A record has a setting that came later only where it says something new."""
    config = load_config(f"demo+{overlay}", [change])
    setting, _, value = change.partition("=")
    name = setting.partition(".")[0]
    view = _view(name, {name: getattr(config, name).key_values()})
    [table] = protocol_blocks({name: view}, name)
    assert isinstance(table, Table)
    assert (setting, value, beside) in table.rows
    assert table.caption == f"Protocol {overlay} in full{', 1 setting changed' if beside else ''}"


def test_without_a_protocol_there_is_no_table() -> None:
    config = load_config("demo").finetune.model_dump(mode="json")
    assert protocol_blocks({"finetune": _view("finetune", {"finetune": config})}, "finetune") == []


def test_every_run_stands_under_its_mean() -> None:
    runs = [{"split": s, "seed": 0, "top1": s / 10, "mean_class": s / 10, "num_test": 40} for s in (1, 2)]
    flat = {
        "top1": 0.15, "top1_interval": [0.1, 0.2], "mean_class": 0.15, "top1_std_splits": 0.07, "splits": [1, 2],
        "seeds": [0], "runs": runs,
    }  # fmt: skip
    scores = ClassifierScores.read(flat, {})
    assert scores.spread() == "mean over splits 1, 2 (standard deviation 7.0)"
    [table] = run_blocks(scores, what="Fine-tuned")
    assert isinstance(table, Table)
    assert table.head == ("split", "seed", "top-1 %", "class mean %", "test videos")
    assert list(map(str, table.rows[0])) == ["mean", "", "15.0 (10–20)", "15.0", ""]
    assert list(map(str, table.rows[2])) == ["2", "0", "20.0", "20.0", "40"]
    assert run_blocks(ClassifierScores.read({**flat, "runs": runs[:1]}, {}), what="") == []
