"""The tables of scores on the console."""

from typing import Any

from rich.console import Console

from flows.cli.results import scores_of


def _printed(metrics: dict[str, dict[str, Any]]) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        for part in scores_of(metrics):
            console.print(part, highlight=False)
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
    assert "50.0  (45-55)" in text and "split 2, seed 1" in text and "chance" in text
    assert "Note         finetune: 1 class (a) is in the test split alone" in text


def test_a_note_of_several_stages_is_said_once() -> None:
    probe = {
        "head": "knn",
        "trained": {"top1": 0.9, "warnings": []},
        "chance": {"top1": 0.3},
        "notes": FINETUNE["notes"],
    }
    text = _printed({"probe": probe, "finetune": FINETUNE})
    assert "Note         probe, finetune: 1 class" in text and text.count("Note ") == 1
    assert "k nearest top-1 %" in text and "retrieval" not in text


def test_a_stage_that_could_not_score_says_why() -> None:
    text = _printed(
        {"probe": {"skipped": "no video has a label"}, "finetune": {"skipped": "finetune.enabled is false"}}
    )
    assert "Skipped      probe: no video has a label" in text and "enabled" not in text
