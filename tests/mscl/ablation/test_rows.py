"""Means, spreads and paired differences, against numbers worked out by hand; the page that shows them."""

import json
import math
from pathlib import Path

import pytest

from mscl.ablation.page import PAGE, ROWS, SETTINGS, merge_results, refuse_another_dataset, write_results
from mscl.ablation.plan import AblationPlan
from mscl.ablation.rows import (
    LINEAR,
    RETRIEVAL,
    SeedScore,
    as_json,
    best_of,
    difference,
    from_json,
    presets_of,
    renamed,
    score,
)
from mscl.errors import ConfigError


def rows_of(values: dict[str, dict[int, float]], *, metric: str = LINEAR, name: str = "set") -> list[SeedScore]:
    return [SeedScore(name, preset, seed, metric, value) for preset, by in values.items() for seed, value in by.items()]


ROWS_BY_HAND = rows_of({"mscl": {0: 0.8, 1: 0.6, 2: 0.7}, "moco": {0: 0.5, 1: 0.5, 2: 0.2}})


def test_mean_and_deviation_over_seeds() -> None:
    found = score(ROWS_BY_HAND, "mscl", LINEAR)
    assert found is not None
    assert found.mean == pytest.approx(0.7) and found.spread == pytest.approx(0.1) and found.seeds == 3
    assert score(ROWS_BY_HAND, "mscl", RETRIEVAL) is None


def test_differences_are_paired_by_seed() -> None:
    # .3, .1, .5: mean .3, deviation .2, error .2 / sqrt(3), t of 2 degrees of freedom 4.303. Unpaired it would differ.
    found = difference(ROWS_BY_HAND, "mscl", "moco", LINEAR)
    assert found is not None
    assert found.by_seed == pytest.approx((0.3, 0.1, 0.5))
    assert found.mean == pytest.approx(0.3) and found.half_width == pytest.approx(4.302653 * 0.2 / math.sqrt(3))


def test_only_shared_seeds_count_and_one_seed_has_no_error() -> None:
    rows = rows_of({"mscl": {0: 0.8, 1: 0.6}, "moco": {1: 0.5, 2: 0.9}})
    found = difference(rows, "mscl", "moco", LINEAR)
    assert found is not None and found.by_seed == pytest.approx((0.1,)) and math.isnan(found.half_width)
    assert difference(rows, "mscl", "nobody", LINEAR) is None


def test_the_winner_of_a_sweep_is_best_over_both_metrics() -> None:
    rows = [
        *rows_of({"a": {0: 0.9}, "b": {0: 0.8}}),
        *rows_of({"a": {0: 0.1}, "b": {0: 0.4}}, metric=RETRIEVAL),
    ]
    assert best_of(rows, ["a", "b"]) == "b"
    assert [(r.preset, r.value) for r in renamed(rows, "b", "moco")] == [("moco", 0.8), ("moco", 0.4)]


def test_rows_survive_json_in_a_fixed_order() -> None:
    content = as_json(ROWS_BY_HAND)
    assert content == as_json(list(reversed(ROWS_BY_HAND)))
    assert set(content[0]) == {"set", "preset", "seed", "metric", "value"}
    assert sorted(from_json(json.loads(json.dumps(content))), key=repr) == sorted(ROWS_BY_HAND, key=repr)


def test_presets_come_in_the_order_of_the_variants_whatever_the_order_of_the_rows() -> None:
    names = ["random", "moco-equal-time", "other", "moco lr=0.1", "mscl-no-fra", "supervised", "moco", "mscl"]
    ordered = ["mscl", "mscl-no-fra", "moco", "moco lr=0.1", "moco-equal-time", "supervised", "random", "other"]
    assert presets_of(rows_of({name: {0: 0.5} for name in names})) == ordered


def facts_of(name: str) -> dict[str, object]:
    return {
        "plan": AblationPlan(name=name, base="demo", variants=("mscl", "moco")).model_dump(mode="json"),
        "own_budgets": {"moco": "steps 90 and not 60"},
        "winners": {"moco": "moco lr=0.003"}, "equal_time_steps": {"moco-equal-time": 300},
        "step_seconds": {"mscl": 0.4, "moco": 0.2}, "chance": {RETRIEVAL: 0.125, LINEAR: 0.13},
        "test_videos": 256, "train_videos": 1152,
    }  # fmt: skip


def test_the_page_shows_means_differences_and_controls(tmp_path: Path) -> None:
    controls = (("_first", 0.11), ("_middle", 0.12), ("_last", 0.13), ("_shuffled", 0.25))
    rows = [*ROWS_BY_HAND]
    for control, value in controls:
        rows += rows_of({"mscl": {0: value, 1: value}}, metric=LINEAR + control)
    write_results(tmp_path, rows, {"set": facts_of("set")})
    text = (tmp_path / PAGE).read_text()
    assert "70.0 ± 10.0" in text and "+30.0 ± 49.7" in text and "| 11.0, 12.0, 13.0 | 25.0 |" in text
    assert "moco was trained with steps 90 and not 60." in text
    assert "moco stands for moco lr=0.003" in text and "300 steps" in text and "12.5" in text
    write_results(tmp_path, rows_of({"mscl": {0: 0.3}}, name="my (set)"), {"my (set)": facts_of("my (set)")})
    assert "](ablation-my%20%28set%29.svg)" in (tmp_path / PAGE).read_text()
    picture = (tmp_path / "ablation-set.svg").read_text()
    assert picture.startswith("<svg") and "moco" in picture and "#ffffff" in picture


def test_another_dataset_joins_and_the_same_one_is_replaced(tmp_path: Path) -> None:
    merge_results(tmp_path, ROWS_BY_HAND, {"set": facts_of("set")})
    merge_results(tmp_path, rows_of({"mscl": {0: 0.3}}, name="other"), {"other": facts_of("other")})
    merge_results(tmp_path, rows_of({"mscl": {0: 0.4}}), {"set": facts_of("set")})
    rows = from_json(json.loads((tmp_path / ROWS).read_text()))
    assert {(r.set, r.preset, r.value) for r in rows} == {("other", "mscl", 0.3), ("set", "mscl", 0.4)}
    text = (tmp_path / PAGE).read_text()
    assert text.count("## ") == 2 and "## other" in text and "30.0" in text and "70.0" not in text


def test_other_data_under_a_known_name_is_refused_before_training(tmp_path: Path) -> None:
    facts = facts_of("set") | {"config": {"data": {"root": "one/videos"}}}
    merge_results(tmp_path, ROWS_BY_HAND, {"set": facts})

    def plan(name: str, root: str) -> AblationPlan:
        return AblationPlan(name=name, base="demo", overrides=(f"data.root={root}",), variants=("mscl",))

    with pytest.raises(ConfigError, match="named 'set', of one/videos; this one, of two/videos"):
        refuse_another_dataset(tmp_path, plan("set", "two/videos"))
    refuse_another_dataset(tmp_path, plan("set", "one/videos"))
    refuse_another_dataset(tmp_path, plan("other", "two/videos"))
    refuse_another_dataset(tmp_path / "empty", plan("set", "two/videos"))


def test_an_export_that_was_killed_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dot_plot", "card_svg"):
        monkeypatch.setattr(f"mscl.ablation.page.{name}", lambda *given, **more: "")
    one, other = (rows_of({"mscl": {0: 0.4}}), {"set": facts_of("set")}), rows_of({"mscl": {0: 0.3}}, name="other")
    merge_results(tmp_path, *one)
    merge_results(tmp_path, other, {"other": facts_of("other")})
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in (SETTINGS, ROWS):  # a dataset is in one of the two files
        content = json.loads(whole[name])
        left = [row for row in content if row["set"] != "set"] if name == ROWS else {"other": content["other"]}
        (tmp_path / name).write_text(json.dumps(left))
        merge_results(tmp_path, other, {"other": facts_of("other")})
        assert (tmp_path / PAGE).read_text().count("## ") == 1
        merge_results(tmp_path, *one)
        assert json.loads((tmp_path / ROWS).read_text()) == json.loads(whole[ROWS])
    (tmp_path / SETTINGS).unlink()  # the first export of all
    merge_results(tmp_path, *one)
    assert (tmp_path / PAGE).read_text().count("## ") == 1
