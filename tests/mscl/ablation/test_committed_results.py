"""The committed results: whole, and their page says what their rows say."""

from pathlib import Path

import pytest

from mscl.ablation.page import PAGE, ROWS, SETTINGS, write_results
from mscl.ablation.rows import LINEAR, RETRIEVAL, SeedScore, from_json
from storage.json_files import read_json

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
SETS = ("motion-only", "weizmann64", "ucf101-3")
PRESETS = (
    "random", "moco", "moco-equal-time", "mscl", "mscl-no-fra", "mscl-no-lmcl", "mscl-no-mds",
    "released-d5", "released-d6", "released-d7",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[SeedScore]:
    return from_json(read_json(RESULTS / ROWS))


@pytest.mark.parametrize("name", SETS)
def test_every_preset_has_three_seeds_of_both_metrics(rows: list[SeedScore], name: str) -> None:
    for metric in (RETRIEVAL, LINEAR):
        for preset in PRESETS:
            seeds = [row.seed for row in rows if (row.set, row.preset, row.metric) == (name, preset, metric)]
            assert len(set(seeds)) == len(seeds) >= 3, (preset, metric)
        for preset in ("mscl", "moco"):  # the control without motion
            assert sum((r.set, r.preset, r.metric) == (name, preset, metric + "_middle") for r in rows) >= 3
    assert sum((r.set, r.preset, r.metric) == (name, "supervised", LINEAR) for r in rows) >= 3


def test_the_motion_suite_s_direction_has_every_control(rows: list[SeedScore]) -> None:
    for metric in (RETRIEVAL, LINEAR):
        found = {(row.preset, row.metric, row.seed) for row in rows if row.set == "direction"}
        for seed in (31, 32):
            assert {(name, metric, seed) for name in ("random", "moco", "mscl", "mscl-rotation-negatives")} <= found
            controls = ("_first", "_middle", "_last", "_shuffled")
            assert {(name, metric + end, seed) for name in ("moco", "mscl") for end in controls} <= found


def test_the_page_is_that_of_the_rows(rows: list[SeedScore], tmp_path: Path) -> None:
    write_results(tmp_path, rows, read_json(RESULTS / SETTINGS))
    assert (tmp_path / PAGE).read_text() == (RESULTS / PAGE).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in RESULTS.iterdir()} - {"reading.md"}


def test_no_path_of_the_machine_is_in_the_settings() -> None:
    assert '"/' not in (RESULTS / SETTINGS).read_text()
