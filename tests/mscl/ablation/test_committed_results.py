"""The committed results: whole, their page says what their rows say, and `make ablate` runs their plans."""

import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from flows.cli.ablate import make_plan, register
from mscl.ablation.page import PAGE, ROWS, SETTINGS, write_results
from mscl.ablation.plan import AblationPlan
from mscl.ablation.rows import (
    LINEAR,
    RETRIEVAL,
    SHUFFLED_SUFFIX,
    STILL_SUFFIXES,
    SeedScore,
    difference,
    from_json,
    score,
)
from storage.json_files import read_json

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs" / "results"
SETS = ("motion-only", "weizmann64", "ucf101-3")
PRESETS = (
    "random", "moco", "moco-equal-time", "mscl", "mscl-no-fra", "mscl-no-lmcl", "mscl-no-mds",
    "released-d5", "released-d6", "released-d7",
)  # fmt: skip
SIX = (101, 102, 103, 104, 105, 106)
EVERY_PART = ("random", "moco", "mscl", "mscl-rotation-negatives")
SWEPT = ("moco temperature=0.1", "moco temperature=0.07")
WHOLE_GRID = (*EVERY_PART, "mscl-no-fra", "mscl-rotation-hard", "mscl-no-lmcl", "mscl-no-mds")
PARTS = {
    "direction": (WHOLE_GRID, SIX),
    "direction-superclasses": (WHOLE_GRID, SIX),
    "order": ((*EVERY_PART, "mscl-no-fra", "mscl-no-lmcl"), SIX),
    "shortcut": ((*WHOLE_GRID, *SWEPT), SIX),
    "stills": (WHOLE_GRID, SIX),
}
CONTROLLED = {"moco", "mscl", "mscl-rotation-negatives", *SWEPT}
BY_HAND = {"reading.md", "real-videos.json"}
"""Beside what an ablation exports: the text, and the rows of benchmarks/real_videos.py."""
NOT_MADE_AGAIN = "motion-only"
"""Its videos were written by an earlier generator."""


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


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_the_motion_suite_have_every_pair_and_control(rows: list[SeedScore], name: str) -> None:
    presets, seeds = PARTS[name]
    expected = {(preset, metric, seed) for preset in presets for metric in (RETRIEVAL, LINEAR) for seed in seeds}
    for preset in CONTROLLED & set(presets) - ({"mscl-rotation-negatives"} if name == "stills" else set()):
        for metric in (RETRIEVAL, LINEAR):
            controls = (*STILL_SUFFIXES, SHUFFLED_SUFFIX)
            expected |= {(preset, metric + control, seed) for control in controls for seed in seeds}
    found = [(row.preset, row.metric, row.seed) for row in rows if row.set == name and row.preset != "supervised"]
    assert len(found) == len(expected) and set(found) == expected
    ceiling = {row.seed for row in rows if (row.set, row.preset) == (name, "supervised")}
    assert ceiling == set(seeds)


@pytest.mark.parametrize("name", ["direction-on-cpu", "direction-on-cpu-superclasses", "shortcut"])
def test_moco_was_trained_with_a_temperature_of_its_own_on_every_set(rows: list[SeedScore], name: str) -> None:
    for preset in ("mscl", "moco", *SWEPT):
        for metric in (RETRIEVAL, LINEAR):
            seeds = [row.seed for row in rows if (row.set, row.preset, row.metric) == (name, preset, metric)]
            assert sorted(seeds) == list(SIX), (preset, metric)


def test_what_order_lacked_was_trained_beside_its_own_reference(rows: list[SeedScore]) -> None:
    for preset in ("random", "mscl", "mscl-rotation-hard", "mscl-no-mds"):
        for metric in (RETRIEVAL, LINEAR):
            seeds = [row.seed for row in rows if (row.set, row.preset, row.metric) == ("order-on-cpu", preset, metric)]
            assert sorted(seeds) == list(SIX), (preset, metric)


def test_the_table_of_real_videos_says_what_its_rows_say() -> None:
    rows = from_json(read_json(RESULTS / "real-videos.json"))
    lines = (RESULTS / "reading.md").read_text().replace("**", "").splitlines()
    for name in ("ucf101-3", "weizmann64", "fights"):
        of_set = [row for row in rows if row.set == name]
        # "Minus middle frame" has its own encoder's score on frozen clips for a preset of its own.
        of_set += [replace(row, preset="frozen", metric=row.metric.removesuffix("_middle")) for row in of_set
                   if row.preset == "mscl" and row.metric.endswith("_middle")]  # fmt: skip
        for head in ("linear", "k-NN"):
            means = [score(of_set, preset, f"{head} trained") for preset in ("untrained", "moco", "mscl")]
            more = [difference(of_set, "mscl", other, f"{head} trained") for other in ("untrained", "moco", "frozen")]
            cells = [f"{100 * one.mean:.1f} ± {100 * one.spread:.1f}" for one in means if one is not None]
            cells += [f"{100 * one.mean:+.1f} ± {100 * one.half_width:.1f}" for one in more if one is not None]
            told = f"| {head} | {' | '.join(cells)} |".replace(" 0.", " .").replace("+0.", "+.").replace("-0.", "-.")
            assert sum(line.endswith(told) for line in lines) == 1, told


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_ablate_runs_the_plans_of_the_page() -> None:
    """A dry run: same sets, variants, seeds, folds and settings, but for the machine."""
    told = subprocess.run(["make", "-n", "ablate"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = {
        plan.name: plan
        for line in told.replace("\\\n", " ").splitlines()
        if (words := shlex.split(line))[1:2] == ["ablate"]
        for plan in (_plan_of(words[2:]),)
    }
    settings = read_json(RESULTS / SETTINGS)
    for name, facts in settings.items():
        if name == NOT_MADE_AGAIN or name.endswith("-superclasses"):
            continue
        committed, again = (_comparable(plan) for plan in (AblationPlan(**facts["plan"]), made.pop(name)))
        assert again == committed
    assert not made


def _plan_of(arguments: list[str]) -> AblationPlan:
    """The plan that `mscl ablate ARGUMENTS` would train."""
    app = typer.Typer()
    register(app)
    given = typer.main.get_command(app).make_context("ablate", arguments).params
    return make_plan(
        given["variants"], base=given["base"], name=given["name"], seeds=given["seeds"], folds=given["fold"],
        sweeps=given["sweep"], equal_time=given["equal_time"], controls=given["control"],
    )  # fmt: skip


def _comparable(plan: AblationPlan) -> dict[str, object]:
    machine = ("runtime.device=", "flow.backend=")
    own = {item for item in plan.overrides if not item.startswith(machine)}
    return plan.model_dump() | {
        "overrides": own, "variants": set(plan.variants), "controls": set(plan.controls) & set(plan.variants),
    }  # fmt: skip


def test_the_page_is_that_of_the_rows(rows: list[SeedScore], tmp_path: Path) -> None:
    write_results(tmp_path, rows, read_json(RESULTS / SETTINGS))
    assert (tmp_path / PAGE).read_text() == (RESULTS / PAGE).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in RESULTS.iterdir()} - BY_HAND


def test_the_settings_of_a_part_are_those_of_the_reference() -> None:
    settings = read_json(RESULTS / SETTINGS)
    for name in PARTS:
        config = settings[name]["config"]
        loss = config["pretrain"]["loss"]
        assert config["screen"]["select"] == "mds" and loss["flow"] and loss["rotation"] and loss["local_motion"]
        assert loss["rotation_role"] == "both"


def test_no_path_of_the_machine_is_in_the_settings() -> None:
    assert '"/' not in (RESULTS / SETTINGS).read_text()
