"""The tables of scores on the console."""

from pathlib import Path
from typing import Any

from rich.console import Console

from flows.cli.results import print_results, print_scores
from mscl.display.amounts import byte_size
from mscl.embedding.variants import VARIANT_NAMES
from mscl.pipeline import Outcome
from mscl.score.blocks import confusion_block
from mscl.score.classifier_scores import ClassifierScores
from mscl.stage.view import StageView
from storage.layout import Ingested
from storage.manifest import SegmentRow, write_manifest
from storage.workspace import Workspace


def _printed(metrics: dict[str, dict[str, Any]], *, width: int = 160) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        print_scores(
            console, {name: StageView(name, "0" * 16, Path(), metrics=found) for name, found in metrics.items()}
        )
    return captured.get()


RUNS = [
    {"split": split, "seed": seed, "top1": 0.5, "top1_interval": [0.4, 0.6], "mean_class": 0.5, "num_test": 39}
    for split in (1, 2)
    for seed in (0, 1)
]
FINETUNE = {
    "top1": 0.5, "top1_interval": [0.45, 0.55], "mean_class": 0.5, "num_test": 78, "splits": [1, 2], "seeds": [0, 1],
    "top1_std_seeds": 0.01, "top1_std_splits": 0.02, "runs": RUNS, "chance": {"top1": 0.3, "mean_class": 0.25},
    "notes": ["1 class (a) is in the test split alone"], "warnings": [],
}  # fmt: skip


def test_a_mean_says_over_what_and_shows_every_run() -> None:
    text = _printed({"finetune": FINETUNE})
    assert "mean over splits 1, 2 (standard deviation 2.0) and seeds 0, 1 (standard deviation 1.0)" in text
    assert "50.0 (45–55)" in text and text.count("50.0 (40–60)") == 4 and "chance" in text
    assert "Note         finetune: 1 class (a) is in the test split alone" in text


def test_the_deviation_of_one_encoder_is_not_that_of_all() -> None:
    trained = {**FINETUNE, "top1": 0.7}
    untrained = {**trained, "top1": 0.3, "top1_std_splits": 0.09, "top1_std_seeds": 0.08}
    text = " ".join(_printed({"probe": {"trained": trained, "untrained": untrained}}, width=300).split())
    assert "mean over splits 1, 2 (standard deviation of trained 2.0) and seeds 0, 1 (standard deviation of" in text


def test_sums_over_splits_and_runs_say_so(tmp_path: Path) -> None:
    assert "Fine-tuned, 78 test videos of 2 splits" in _printed({"finetune": FINETUNE})
    (tmp_path / "metrics.json").write_text('{"confusion": [[40, 0], [0, 38]], "classes": ["a", "b"]}')
    scores = ClassifierScores.read(FINETUNE, {})
    assert confusion_block(tmp_path / "metrics.json", "x", scores).caption == (
        "Confusion, x, summed over 4 runs (splits, seeds)"
    )
    alone = ClassifierScores.read({**FINETUNE, "runs": RUNS[:1]}, {})
    assert confusion_block(tmp_path / "metrics.json", "x", alone).caption == "Confusion, x"


def test_a_size_keeps_its_three_digits() -> None:
    shown = {999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_600: "1 MB", 12_300_000: "12.3 MB", 2e15: "2,000 TB"}
    assert {count: byte_size(count) for count in shown} == shown


def test_a_note_of_several_stages_is_said_once() -> None:
    probe = {
        "head": "knn",
        "trained": {"top1": 0.9, "warnings": []},
        "chance": {"top1": 0.3},
        "notes": FINETUNE["notes"],
    }
    text = _printed({"probe": probe, "finetune": FINETUNE})
    assert "Note         probe, finetune: 1 class" in text and text.count("Note ") == 1
    assert "k nearest neighbours top-1" in text and "retrieval" not in text


def test_a_stage_that_could_not_score_says_why() -> None:
    text = _printed(
        {"probe": {"skipped": "no video has a label"}, "finetune": {"skipped": "finetune.enabled is false"}}
    )
    assert "Skipped, probe: no video has a label" in text and "enabled" not in text


def test_three_test_videos_decide_nothing_and_have_no_interval() -> None:
    few = {"top1": 1.0, "top1_interval": [1.0, 1.0], "mean_class": 1.0, "num_test": 3, "splits": [1], "seeds": [0]}
    text = _printed({"probe": {"trained": few, "chance": {"top1": 0.5}}, "finetune": {**few, "chance": {"top1": 0.5}}})
    assert "100.0" in text and "(100" not in text
    assert text.count("3 test videos decide nothing") == 2


def test_the_tables_of_a_run_fit_into_80_columns() -> None:
    scores = {"top1": 1.0, "top1_interval": [0.9, 1.0], "R@1": 1.0, "R@1_interval": [0.9, 1.0], "mAP": 1.0}
    variants = dict.fromkeys(VARIANT_NAMES, scores)
    metrics = {
        "retrieve": {**variants, "chance": {"R@1": 0.125}},
        "probe": {**variants, "head": "knn", "chance": {"top1": 0.1}},
    }
    text = _printed(metrics, width=80)
    row = next(line for line in text.splitlines() if "trained, middle frame" in line)
    assert row.count("100.0 (90–100)") == 2 and len(row) <= 80
    assert "repeat that one frame" in text and "in random order, which still show" in " ".join(text.split())


def test_the_table_of_a_run_names_its_columns_and_leaves_paths_whole(tmp_path: Path) -> None:
    """At 80 columns: every stage on one line, with its score or size, and the report's path alone on its line."""
    place = Workspace(tmp_path / ("a-long-name-of-a-folder-" * 4) / "workspace")
    metrics: dict[str, dict[str, Any]] = {
        "ingest": {"videos": 1234, "classes": 101, "verdicts": {"ok": 1231, "unreadable": 2, "truncated": 1}},
        "pretrain": {"loss": 7.25, "steps": 1200},
        "retrieve": {
            "trained": {"R@1": 0.25, "mAP": 0.2}, "untrained": {"R@1": 0.125, "mAP": 0.1}, "chance": {"R@1": 0.1}
        },
        "report": {},
    }  # fmt: skip
    outcomes = {}
    for number, (stage, found) in enumerate(metrics.items()):
        with place.claim(stage, f"{number:016x}") as folder:
            if stage == "ingest":
                rows = [("good.mp4", "ok", ""), ("a.mp4", "unreadable", "no moov atom"), ("c.mp4", "truncated", "cut")]
                rows.append(("b.mp4", "unreadable", "empty"))
                write_manifest(Ingested(folder).manifest_path, [_segment(*row) for row in rows])
            result = place.commit(
                stage, f"{number:016x}", version=1, config={}, inputs={}, metrics=found, timings={"seconds": 1.0}
            )
        outcomes[stage] = Outcome(result, reused=stage == "ingest", seconds=3725.0 if stage == "pretrain" else 1.5)
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as captured:
        print_results(console, outcomes, seconds=100.4)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    ingest_size = byte_size(outcomes["ingest"].result.record.size).split()
    assert [line.split() for line in lines[:5]] == [
        ["stage", "key", "time", "size", "result"],
        ["ingest", "00000000", "reused", *ingest_size, "1,232", "of", "1,234", "videos,", "101", "classes"],
        ["pretrain", "00000000", "1", "h", "02", "min", "0", "B", "loss", "7.25", "after", "1,200", "steps"],
        ["retrieve", "00000000", "1.5", "s", "0", "B", "R@1", "25.0,", "untrained", "12.5"],
        ["report", "00000000", "1.5", "s", "0", "B", "one", "page"],
    ]
    assert all(len(line) <= 80 for line in lines[:5])
    assert all(len(line) <= 80 for line in lines[:-1])  # notes, too, are broken between words
    said = " ".join(" ".join(lines).split())
    assert "Note ingest: 2 of 4 videos cannot be used: 2 unreadable (e.g. a.mp4: no moov atom) Note" in said
    assert "Note ingest: 1 of 4 videos decode only in part, which is used (e.g. c.mp4)" in said
    assert lines[-3:] == ["1 min 40 s in all", "Report:", str(outcomes["report"].result.folder / "report.html")]


def test_a_run_that_ends_before_a_report_says_how_to_look_at_what_moves(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "my workspace")
    with place.claim("motion", "0" * 16):
        result = place.commit("motion", "0" * 16, version=1, config={}, inputs={}, metrics={}, timings={})
    console = Console(width=300)
    with console.capture() as captured:
        print_results(console, {"motion": Outcome(result, reused=False, seconds=1.0)}, seconds=1.0)
    look = ["What moves, to look at:", f"mscl motion page --workspace '{place.root}'"]
    assert [line.rstrip() for line in captured.get().splitlines()][-2:] == look


def _segment(video: str, verdict: str, reason: str) -> SegmentRow:
    return SegmentRow(
        segment_id=f"{video}#0", video=video, class_name="", label=-1, split="train", num_frames=10, first_frame=0,
        fps=25.0, height=48, width=64, rotation=0, size_bytes=1, digest="0" * 64, verdict=verdict, reason=reason,
    )  # fmt: skip


def test_names_of_others_are_no_markup_and_reach_no_terminal_raw() -> None:
    said = "1 class ([red]loud[/red] [/b] \x1b]0;title\x07 a\nb) is in the test split alone"
    text = _printed({"finetune": {**FINETUNE, "notes": [said]}, "pretrain": {"given": "[/b]encoder\x1b[31m.pth"}})
    assert "[red]loud[/red] [/b] \\x1b]0;title\\x07 a" in text
    assert "\x1b" not in text
