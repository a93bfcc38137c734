"""Scores by superclasses: labels put together, and what does not fit refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mscl.config import ProbeConfig, load_config
from mscl.demo.parts import DIRECTION, PARTS
from mscl.errors import ConfigError
from mscl.report.results import Results
from mscl.score.classifier_scores import ProbeMetrics
from mscl.score.superclasses import by_superclass, with_superclasses
from mscl.stage.view import StageView
from storage.manifest import Manifest, SegmentRow, read_manifest, write_manifest

CLASSES = ("a", "b", "c")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rows = [SegmentRow(f"{i}.mp4#0", f"{i}.mp4", CLASSES[i % 3], i % 3, "test" if i > 5 else "train") for i in range(9)]
    write_manifest(tmp_path / "m.parquet", [*rows, SegmentRow("u#0", "u", "", -1, "train")], classes=CLASSES)
    return read_manifest(tmp_path / "m.parquet")


def test_rows_keep_their_place_and_take_the_label_of_their_superclass(manifest: Manifest) -> None:
    coarse = by_superclass(manifest, {"late": ("c",), "early": ("a", "b")})
    assert coarse.classes == ["late", "early"]
    assert coarse.column("label").tolist() == [1, 1, 0, 1, 1, 0, 1, 1, 0, -1]
    assert coarse.column("class_name").tolist()[:3] == ["early", "early", "late"]
    assert coarse.column("segment_id").tolist() == manifest.column("segment_id").tolist()
    assert manifest.column("label").tolist()[:3] == [0, 1, 2]


@pytest.mark.parametrize(
    ("superclasses", "said"),
    [
        ({"x": ("a", "b")}, "c in none of x"),
        ({"x": ("a", "b"), "y": ("b", "c")}, "'b' is in 'x' and in 'y'"),
        ({"x": ("a", "b", "c", "MoveUp")}, "'MoveUp', which is no class of this dataset"),
    ],
)
def test_superclasses_that_do_not_fit_the_classes_are_refused(
    manifest: Manifest, superclasses: dict[str, tuple[str, ...]], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        by_superclass(manifest, superclasses)


def test_both_tables_are_shown_and_the_record_reads_as_before(manifest: Manifest, tmp_path: Path) -> None:
    def score(manifests: Any, folder: Path) -> dict[str, Any]:
        top1 = 1 / len(manifests[1].classes)
        assert folder.is_dir()
        return {"head": "knn", "trained": {"top1": top1, "num_test": 40}, "chance": {"top1": top1}}

    record = with_superclasses({1: manifest}, {"x": ("a", "b"), "y": ("c",)}, score, tmp_path)
    read = ProbeMetrics.read(record)
    assert isinstance(read, ProbeMetrics) and list(read.variants) == ["trained"]
    results = Results.of({"probe": StageView("probe", "k", tmp_path, metrics=record)})
    assert [one.superclasses for one in results.coarse] == [("x", "y")]
    shown = str(results.tables())
    assert "33.3" in shown and "50.0" in shown and "by superclass: x, y" in shown


def test_scores_by_other_superclasses_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    """In one table those of the probe would stand under the names of retrieval's."""
    score = {"top1": 0.5, "R@1": 0.75, "mAP": 0.5}

    def stages(of_probe: dict[str, list[str]]) -> dict[str, StageView]:
        asked = {"retrieve": {"x": ["a", "b"], "y": ["c"]}, "probe": of_probe}
        metrics = {"trained": score, "superclasses": {"names": ["x", "y"], "trained": score}}
        return {
            name: StageView(name, "k", tmp_path, config={name: {"superclasses": own}}, metrics=metrics)
            for name, own in asked.items()
        }

    together = Results.of(stages({"x": ["a", "b"], "y": ["c"]})).coarse
    apart = Results.of(stages({"x": ["a"], "y": ["b", "c"]})).coarse
    assert [list(one.columns) for one in together] == [["retrieval R@1", "linear probe top-1"]]
    assert [list(one.columns) for one in apart] == [["retrieval R@1"], ["linear probe top-1"]]


def test_the_kinds_of_the_overlay_are_those_of_the_suite() -> None:
    config = load_config("demo+kind", [])
    assert config.probe.superclasses == config.retrieve.superclasses == dict(PARTS[DIRECTION].kinds)
    assert sorted(np.concatenate(list(PARTS[DIRECTION].kinds.values()))) == sorted(PARTS[DIRECTION].classes)
    assert "superclasses" in ProbeConfig().model_dump() and not ProbeConfig().superclasses
