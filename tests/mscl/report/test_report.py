"""The page and the stage reports: whole, safe, small, and never failing for a picture."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mscl.display.blocks import ContactSheet, Note, Number, SheetPicture, Table
from mscl.display.pictures import colour_coded, flow_strip, thumbnail
from mscl.display.style import INK, for_card, for_page
from mscl.finetune.figures import finetune_curve
from mscl.motion.figures import motion_curve, score_histograms
from mscl.motion.scores import NAMES
from mscl.pipeline import BY_NAME, PIPELINE
from mscl.pretrain.figures import LOSS_NAMES, loss_curves
from mscl.report.lineage import lineage_graph, time_and_disk
from mscl.report.markdown import markdown_block, stage_markdown
from mscl.report.page import build_report
from mscl.score.figures import confusion_matrix, recall_curve, score_bars, shortened
from mscl.score.retrieval_scores import RetrievalScores
from mscl.score.scores import Score
from mscl.stage.view import StageView, by_stage
from storage.layout import Ingested
from storage.manifest import SegmentRow, write_manifest
from storage.splits import write_splits

SCORES = {
    name: {"R@1": value, "R@1_interval": [value - 0.05, value + 0.05], "R@5": min(1, 2 * value), "mAP": value,
           "top1": value, "top1_interval": [value - 0.05, value + 0.05], "mean_class": value, "warnings": []}
    for name, value in (("trained", 0.8), ("untrained", 0.3), ("trained_first", 0.14), ("trained_shuffled", 0.2))
}  # fmt: skip


@pytest.fixture
def views(patch_run: Any, tmp_path: Path) -> list[StageView]:
    return _views(patch_run, tmp_path)


@pytest.fixture(scope="module")
def whole_page(patch_run: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of all views; its pictures take seconds."""
    folder = tmp_path_factory.mktemp("page")
    return _page(_views(patch_run, folder), folder).read_text()


def _views(patch_run: Any, tmp_path: Path) -> list[StageView]:
    for name in ("pretrain", "embed", "probe", "retrieve", "finetune"):
        (tmp_path / name).mkdir()
    steps = [
        {"step": s, **dict.fromkeys(LOSS_NAMES, 6.0 - s / 50), **{f"{n}_top1": 0.2 for n in LOSS_NAMES}}
        for s in range(90)
    ]
    (tmp_path / "pretrain" / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in steps) + '{"step": 9'
    )
    report = {"confusion": [[2, 1], [0, 3]], "classes": ["left", "right"]}
    (tmp_path / "probe" / "metrics.json").write_text(json.dumps({"trained": report}))
    (tmp_path / "finetune" / "metrics.json").write_text(json.dumps(report))
    (tmp_path / "finetune" / "curve.jsonl").write_text('{"epoch": 1, "lr": 0.1, "loss": 0.7, "accuracy": 0.6}\n')
    found = {"query_rows": list(range(12, 18)), "gallery_rows": [[0, 1, 2]] * 6, "similarity": [[0.9, 0.8, 0.1]] * 6}
    (tmp_path / "retrieve" / "neighbours.json").write_text(json.dumps({"trained": found}))
    data = {"config": {"data": {"root": "/videos/patches"}}, "metrics": {"videos": 19, "segments": 18, "classes": 2}}
    return [
        StageView("ingest", "a" * 16, patch_run.ingest, timings={"seconds": 2.5}, size_bytes=5000, **data),
        StageView("extract", "b" * 16, patch_run.extract, inputs={"ingest": "a" * 16}, timings={"seconds": 61},
                  config={"flow": {"method": "tvl1", "gap_frames": 1, "span_frames": 1}}),
        StageView("motion", "c" * 16, patch_run.motion, inputs={"extract": "b" * 16}),
        StageView("screen", "d" * 16, patch_run.screen, inputs={"motion": "c" * 16},
                  config={"screen": {"min_motion_px": 0.05}, "clip": {"length": 4, "stride": 1}}),
        StageView("pretrain", "e" * 16, tmp_path / "pretrain", inputs={"screen": "d" * 16, "extract": "b" * 16},
                  config={"pretrain": {"loss": {"queue_size": 512}}}),
        StageView("embed", "f" * 16, tmp_path / "embed", inputs={"pretrain": "e" * 16},
                  metrics={"videos": 18, "feature_dim": 64, "trained_videos_per_second": 30.0}),
        StageView("probe", "0" * 16, tmp_path / "probe", inputs={"embed": "f" * 16},
                  metrics={**SCORES, "chance": {"top1": 0.125, "uniform": 0.125}}),
        StageView("retrieve", "1" * 16, tmp_path / "retrieve", inputs={"embed": "f" * 16},
                  metrics={**SCORES, "chance": {"R@1": 0.125, "R@5": 0.5, "mAP": 0.15},
                           "notes": ["R@50 left out"]}),
        StageView("finetune", "2" * 16, tmp_path / "finetune", inputs={"pretrain": "e" * 16},
                  created_at="2026-01-01T10:00",
                  metrics={"top1": 0.9, "top1_interval": [0.8, 1.0], "mean_class": 0.9, "epochs": 1,
                           "warnings": ["small batch"], "chance": {"top1": 0.5, "mean_class": 0.5}},
                  versions={"torch": "2"}),
    ]  # fmt: skip


def _page(views: list[StageView], folder: Path) -> Path:
    return build_report(views, folder / "report.html", stages=PIPELINE[:-1])


def _markdown(view: StageView, inputs: list[StageView], **options: Any) -> str:
    return stage_markdown(BY_NAME[view.stage], view, inputs, **options)


class _Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "section":
            self.sections.append(str(dict(attrs)["id"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_holds_every_section_and_needs_nothing_else(whole_page: str) -> None:
    text = whole_page
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.sections == [
        "results", *(stage.name for stage in PIPELINE[:-1]), "lineage", "settings",
    ]  # fmt: skip
    assert "No pictures of" not in text
    assert INK not in text
    assert len(text) < 5_000_000
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert all(source.startswith(("data:", "#")) for source in sources), sources
    assert "prefers-color-scheme: dark" in text
    assert "80.0" in text and "R@50 left out" in text and "small batch" in text


def test_names_from_the_dataset_are_text_and_not_markup(whole_page: str, views: list[StageView]) -> None:
    assert "&lt;b&gt;bad&lt;/b&gt;" in whole_page
    assert "<b>bad" not in whole_page
    markdown = _markdown(views[0], [])
    assert "<b>bad" not in markdown
    assert "moov atom not found \\| truncated" in markdown


def test_names_are_text_of_markdown_where_cells_and_lines_begin_with_them() -> None:
    picture = SheetPicture(b"jpeg", "![seen](http://host/a.png)")
    sheet = markdown_block(ContactSheet((("# a.mp4", (picture,)),), caption="1. b"))
    assert sheet.startswith("**1. b**\n\n\\# a.mp4\n\n| !\\[seen\\](http://host/a.png) |")
    assert "| ![!\\[seen\\](http://host/a.png)](data:image/jpeg" in sheet
    table = markdown_block(Table(("class", "%"), (("![c](http://host/b.png)", Number("-1.0")),), caption=""))
    assert table.endswith("| !\\[c\\](http://host/b.png) | -1.0 |")
    found = [markdown_block(Note(text)) for text in ("# a", "- b", "12. c", "-1 is low", "1.5 s")]
    assert found == ["\\# a", "\\- b", "12\\. c", "-1 is low", "1.5 s"]


def test_missing_and_damaged_files_become_sentences(views: list[StageView], tmp_path: Path) -> None:
    broken = [replace(view, folder=tmp_path / "gone") for view in views]
    text = _page(broken, tmp_path).read_text()
    assert "No pictures of ingest" in text
    assert "80.0" in text  # what the records say is still there
    for place, view in enumerate(broken):
        assert _markdown(view, broken[:place]).startswith(f"# {view.stage}")


def test_skipped_stages_say_so(views: list[StageView], tmp_path: Path) -> None:
    skipped = [replace(view, metrics={"skipped": "no video has a label"}) for view in views if "chance" in view.metrics]
    text = _page(skipped, tmp_path).read_text()
    assert "no video has a label" in text


def test_a_given_encoder_is_not_called_trained(views: list[StageView], tmp_path: Path) -> None:
    given = [
        replace(view, metrics={**view.metrics, "given": "r3d_18_of_somebody_else.pth"})
        if view.stage == "pretrain"
        else replace(view, metrics={**view.metrics, "missing": 1234})
        for view in views
        if view.stage not in ("extract", "motion", "screen")  # pictures that take seconds and say nothing here
    ]
    text = _page(given, tmp_path).read_text()
    assert "given: r3d_18_of_somebody_…" in text and "given, first frame" in text and "given, shuffled" in text
    assert "1,234 more videos are listed and not there" in text
    rows = re.findall(r"<td>(trained|untrained)</td>", text)
    assert "untrained" in rows and "trained" not in rows


def test_what_was_made_elsewhere_or_in_two_parts_is_not_told_as_one(tmp_path: Path) -> None:
    extract = StageView("extract", "a" * 16, tmp_path, timings={"seconds": 12, "resumed": 1}, versions={"torch": "1"})
    report = StageView("probe", "b" * 16, tmp_path, timings={"seconds": 3}, versions={"torch": "2"}, host="here",
                       created_at="2026-01-01T10:00:00+00:00")  # fmt: skip
    text = build_report([extract, report], tmp_path / "page.html", stages=()).read_text()
    assert "2026-01-01 10:00 UTC" in text and "made (UTC)" in text
    assert text.count("≥ 12.0 s") == 3 and "≥ 3.0 s" not in text and "this is the time since" in text
    assert "<td>2; extract: 1</td>" in text and "Software that made probe, on here" in text


def test_the_split_that_is_counted_is_named(tmp_path: Path) -> None:
    rows = [SegmentRow(f"{name}#0", name, class_name="golf", label=0) for name in "ab"]
    write_manifest(Ingested(tmp_path).manifest_path, rows, classes=["golf"])
    view = StageView("ingest", "a" * 16, tmp_path)
    assert "**Usable segments by class and split**" in _markdown(view, [])
    write_splits(tmp_path, {1: ["train", "train"], 2: ["train", "test"]})
    assert "**Usable segments by class and split, in official split 1 of 1, 2**" in _markdown(view, [])


def test_page_of_nothing_is_still_a_page(tmp_path: Path) -> None:
    assert _page([], tmp_path).read_text().startswith("<!doctype html>")


def test_every_stage_has_markdown_with_its_pictures(views: list[StageView]) -> None:
    for place, view in enumerate(views):
        markdown = _markdown(view, views[:place])
        assert len(markdown.encode()) <= 900_000
        assert "No pictures" not in markdown
        assert ("data:image/" in markdown) == (view.stage not in ("ingest", "embed"))


def test_markdown_leaves_the_largest_pictures_out_and_says_so(views: list[StageView]) -> None:
    whole = _markdown(views[3], views[:3])
    small = _markdown(views[3], views[:3], max_bytes=len(whole.encode()) // 2)
    assert len(small.encode()) <= len(whole.encode()) // 2
    assert "only in report.html" in small
    assert "What motion differential sampling decided" in small


def test_screened_out_segments_are_told_with_the_reason(views: list[StageView]) -> None:
    assert "flow stays at 0.000 px" in _markdown(views[3], views[:3])


def test_views_of_a_stage_are_put_in_order_and_the_last_counts(views: list[StageView]) -> None:
    newer = replace(views[0], key="9" * 16)
    ordered = by_stage([*reversed(views), newer], list(BY_NAME))
    assert list(ordered) == [view.stage for view in views]
    assert ordered["ingest"].key == "9" * 16


CHARTS = {
    "motion": lambda: motion_curve(np.ones(20), np.linspace(0, 1, 13), [7, 8], frame_step=2, title="a & b"),
    "no candidates": lambda: motion_curve(np.ones(3), np.empty(0), []),
    "scores": lambda: score_histograms(
        dict.fromkeys(NAMES, np.array([0.0, 0.2, np.nan, 30.0])), {"peak_px": [("min", 0.05), ("max", 99)]}
    ),
    "no scores": lambda: score_histograms(dict.fromkeys(NAMES, np.empty(0)), {}),
    "losses": lambda: loss_curves([{"step": s, "rgb": 5, "flow": math.nan} for s in range(999)], chance=len),
    "total loss only": lambda: loss_curves([{"step": 1, "loss": 5.0}]),
    "curve": lambda: finetune_curve([{"epoch": 1, "loss": 1, "accuracy": 0.5, "val_top1": 0.4}], test_top1=0.4),
    "bars": lambda: score_bars({"R@1": {"trained": Score(value=0.5)}}),
    "recall": lambda: recall_curve(
        {"trained": RetrievalScores.read({"R@1": 0.5, "R@5": 0.9, "mAP": 0.3}, {"R@1": 0.1, "R@5": 0.4})}
    ),
    "confusion": lambda: confusion_matrix([[3, 1], [0, 0]], ["a < b", "c"]),
    "large confusion": lambda: confusion_matrix(np.eye(101, dtype=int).tolist(), [f"c{i}" for i in range(101)]),
    "lineage": lambda: lineage_graph(
        [StageView("ingest", "k" * 16, Path()), StageView("extract", "l" * 16, Path(), inputs={"ingest": "k" * 16})]
    ),
    "time": lambda: time_and_disk([StageView("ingest", "k" * 16, Path(), timings={"seconds": 4000.0})]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_small_valid_svg_that_follows_the_theme(name: str) -> None:
    svg = CHARTS[name]()
    ElementTree.fromstring(svg)
    assert len(svg) < 200_000
    assert "currentColor" in for_page(svg, label="x")
    assert INK not in for_card(svg)
    assert CHARTS[name]() == svg  # the same picture for the same data


def test_intervals_are_named_where_there_are_some() -> None:
    for interval, named in ((None, False), ((0.4, 0.6), True)):
        svg = score_bars({"R@1": {"trained": Score(value=0.5, interval=interval)}})
        assert ("lines: 95 % interval" in svg) is named


def test_the_first_bar_of_motion_says_that_it_holds_what_is_below_the_axis() -> None:
    for least_px, named in ((0.02, False), (0.0006, True)):
        svg = score_histograms(dict.fromkeys(NAMES, np.array([least_px, 0.2, 3.0])), {})
        texts = {element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
        assert ("≤ 0.01" in texts) is named


def test_names_of_classes_are_text_and_tell_them_apart() -> None:
    names = ["a$b$c", r"$\frac$", *(f"Pushing something from {way}" for way in ("left to right", "right to left"))]
    svg = confusion_matrix(np.eye(4, dtype=int).tolist(), names)
    found = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert [found.count(name) for name in (*names[:2], "Pushing s…t to right", "Pushing s…ht to left")] == [2] * 4
    alike = ["Pushing one thing to right", "Pushing all thing to right", "Pushing a"]
    assert shortened([*alike, alike[0].replace("one", "two")]) == [
        "Pushing one thing t…", "Pushing all thing t…", "Pushing a", "Pushing two thing t…"
    ]  # fmt: skip
    long = [f"Pushing s{'x' * count}omething right" for count in (12, 13)]
    assert shortened(long) == ["1: Pushing sxxxxx…", "2: Pushing sxxxxx…"]


def test_flow_colours_are_scaled_by_the_largest_radius() -> None:
    flow = np.zeros((4, 4, 2), np.float32)
    assert (colour_coded(flow) == 255).all()  # no motion is white
    flow[0, 0] = (5, 0)
    np.testing.assert_array_equal(colour_coded(flow), colour_coded(flow * 10))


def test_every_field_lies_under_its_frame_in_a_cell_of_its_own() -> None:
    import cv2

    frames, flow = np.zeros((3, 40, 80, 3), np.uint8), np.zeros((3, 20, 40, 2), np.float32)
    flow[2] = (4, 0)  # a grid of its own size; motion to the right is red, no motion is white
    strip = cv2.imdecode(np.frombuffer(flow_strip(frames, flow, height_px=40), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (2 * 40 + 2, 3 * 80 + 2 * 2, 3)
    for number in range(3):
        left = number * 82
        assert strip[8:32, left + 8 : left + 72].max() < 40
        field_BGR = strip[50:74, left + 8 : left + 72].mean(axis=(0, 1))
        assert field_BGR[2] > 200 and (field_BGR[0] > 200) == (number < 2)
    between = strip[50:74, 80:82]
    assert 80 < between.mean() < 200  # grey: white fields do not run into each other


def test_pictures_are_jpegs_of_the_right_size() -> None:
    import cv2

    frames = np.zeros((3, 20, 40, 3), np.uint8)
    marked = cv2.imdecode(np.frombuffer(thumbnail(frames[0], height_px=10, mark="right"), np.uint8), cv2.IMREAD_COLOR)
    assert marked.shape == (18, 28, 3)
    assert marked[0, 0, 1] > marked[0, 0, 2]  # green frame
