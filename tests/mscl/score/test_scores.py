"""Scores as types: what earlier records say is read and written again unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest

from mscl.display.blocks import Note, Number, Table
from mscl.finetune.scores import FinetuneMetrics
from mscl.report.results import Results
from mscl.score.blocks import few_videos, score_tables
from mscl.score.classifier_scores import ClassifierScores, Details, ProbeMetrics
from mscl.score.retrieval_scores import RetrievalMetrics
from mscl.score.scores import Score
from mscl.score.stages import PROBE, RETRIEVE
from mscl.stage.skipped import Skipped
from mscl.stage.view import StageView

RECORDS: dict[str, Any] = json.loads((Path(__file__).parent / "earlier_records.json").read_text())
"""Metrics as the stages wrote them before scores were types: UCF101, 39 test videos, the frozen variants left out."""
READERS: dict[str, Any] = {"probe": ProbeMetrics, "retrieve": RetrievalMetrics, "finetune": FinetuneMetrics}


@pytest.mark.parametrize("stage", READERS)
def test_an_earlier_record_opens_and_is_written_again_to_the_same_bytes(stage: str) -> None:
    metrics = READERS[stage].read(RECORDS[stage])
    assert json.dumps(metrics.as_record()) == json.dumps(RECORDS[stage])


def test_numbers_of_an_earlier_record_are_where_they_belong() -> None:
    probe, retrieve = ProbeMetrics.read(RECORDS["probe"]), RetrievalMetrics.read(RECORDS["retrieve"])
    assert isinstance(probe, ProbeMetrics) and isinstance(retrieve, RetrievalMetrics)
    top1 = probe.variants["trained"].top1
    assert top1.value == pytest.approx(20 / 39) and top1.chance == pytest.approx(14 / 39) and top1.num_videos == 39
    assert top1.interval == (pytest.approx(14 / 39), pytest.approx(26 / 39)) and top1.cell == Number("51.3", "36–67")
    assert list(retrieve.variants) == ["trained", "untrained"] and retrieve.num_gallery == 91
    assert retrieve.variants["trained"].recall[5].value == pytest.approx(34 / 39)


def test_a_recall_is_called_by_its_own_k() -> None:
    flat = {"R@5": 0.75, "R@10": 0.9, "mAP": 0.5, "runs": []}
    metrics = {"protocol": "", "trained": flat, "untrained": flat}
    assert RETRIEVE.came_out(metrics) == "R@5 75.0, untrained 75.0"
    view = StageView("retrieve", "aaaa", Path(), metrics=metrics)
    assert list(Results.of({"retrieve": view}).columns) == ["retrieval R@5"]
    assert PROBE.came_out({"trained": {"top1": 0.5}}) == "top-1 50.0"


def test_details_have_names_of_their_own() -> None:
    """Each by its own name, whatever it begins with: no number of a later version is taken for one of them."""
    run = {"split": 2, "top1": 0.5, "top10": 0.9, "epochs": 3, "num_test_clips": 7}
    scores = ClassifierScores.read({"top1": 0.5, "l2": 10.0, "folds": 0, "shots": 5, "runs": [run]}, {})
    assert scores.details == Details(l2=10.0, folds=0) and scores.runs[0].details == Details(epochs=3)


def test_a_record_may_say_next_to_nothing() -> None:
    scores = ClassifierScores.read({"top1": 0.5}, {})
    assert scores.top1 == Score(value=0.5) and scores.mean_class is None and scores.runs == ()
    assert ProbeMetrics.read({"skipped": "no labels"}) == Skipped("no labels")
    assert Skipped.read(Skipped("no labels").as_record()) == Skipped("no labels")


@pytest.mark.parametrize(("num_videos", "kept"), [(0, True), (9, False), (10, True)])
def test_under_ten_videos_there_is_no_interval(num_videos: int, kept: bool) -> None:
    flat = {"top1": 1.0, "top1_interval": [1.0, 1.0], "num_test": num_videos}
    scores = ClassifierScores.read(flat, {"top1": 0.5})
    assert (scores.top1.interval is not None) == kept == (not scores.top1.decides_nothing)
    table, *notes = score_tables({"trained": scores}, caption="")
    assert isinstance(table, Table) and table.rows[-1] == ("chance", "50.0")
    words = "9 test videos decide nothing: under 10 test videos or 3 groups there are no intervals."
    assert notes == ([] if kept else [Note(words)])


def test_under_three_groups_there_is_no_interval() -> None:
    flat = {"top1": 1.0, "top1_interval": [1.0, 1.0], "num_test": 30, "num_groups": 2}
    scores = ClassifierScores.read(flat, {})
    assert scores.top1.interval is None and scores.top1.decides_nothing
    (note,) = few_videos([scores.top1])
    assert isinstance(note, Note) and note.text.startswith("2 groups of test videos decide nothing")
    assert ClassifierScores.read(flat | {"num_groups": 3}, {}).top1.interval == (1.0, 1.0)
