"""Plans: what is trained with which settings, and what is refused."""

from pathlib import Path

import pytest
import yaml

from mscl.ablation.plan import AblationPlan, Sweep, planned_runs, supervised
from mscl.config import load_config, overlay_names
from mscl.errors import ConfigError


def test_the_reference_changes_nothing_and_variants_are_the_overlays() -> None:
    plan = AblationPlan(name="set", base="demo", variants=("mscl", "mscl-no-fra", "moco"), seeds=(0,))
    runs = {run.preset: run.config for run in planned_runs(plan)}
    assert runs["mscl"] == load_config("demo")
    assert runs["moco"] == load_config("demo+moco")
    assert runs["mscl-no-fra"] == load_config("demo+mscl-no-fra", ["embed.controls=false"])


@pytest.mark.parametrize("variant", overlay_names())
def test_variants_keep_the_budget_and_the_optimiser(variant: str) -> None:
    base, ours = load_config("demo").pretrain, load_config(f"demo+{variant}").pretrain
    for setting in ("epochs", "min_steps", "batch_size", "optim", "model", "key_momentum"):
        assert getattr(ours, setting) == getattr(base, setting), setting


@pytest.mark.parametrize("where", ["overrides", "folds", "sweeps"])
def test_a_setting_that_makes_a_variant_is_not_overridden(where: str) -> None:
    change = "pretrain.loss.flow=true"
    given = {where: (Sweep.parse(f"moco:{change}"),) if where == "sweeps" else (change,)}
    plan = AblationPlan.model_validate(
        {"name": "set", "base": "demo", "variants": ("mscl", "moco"), "seeds": (0,)} | given
    )
    with pytest.raises(ConfigError, match="pretrain.loss.flow=true changes what makes variant 'moco'"):
        planned_runs(plan)


def test_cells_go_seed_by_seed_with_folds_and_sweeps() -> None:
    plan = AblationPlan(
        name="set", base="demo", variants=("mscl", "moco", "supervised"), seeds=(5, 6),
        folds=("data.test_pattern=a", "data.test_pattern=b"),
        sweeps=(Sweep.parse("moco:pretrain.optim.lr=0.001,0.003"),), overrides=("clip.stride=1",),
    )  # fmt: skip
    runs = planned_runs(plan)
    names = ["mscl", "moco lr=0.001", "moco lr=0.003"]
    assert [(run.preset, run.seed) for run in runs] == [(name, seed) for seed in (5, 6) for name in names]
    assert [run.config.pretrain.seed for run in runs] == [5, 5, 5, 6, 6, 6]
    assert [run.config.data.test_pattern for run in runs] == ["a"] * 3 + ["b"] * 3
    assert [run.config.pretrain.optim.lr for run in runs[1:3]] == [0.001, 0.003]
    assert [run.config.pretrain.loss.flow for run in runs[:3]] == [True, False, False]
    assert all(run.config.clip.stride == 1 for run in runs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": ("data.split=1",)}, "1 folds for 2 seeds"),
        ({"seeds": (1, 1)}, "repeat"),
        ({"equal_time": ("moco",), "variants": ("moco",)}, "'mscl', which is not one of"),
        ({"sweeps": (Sweep.parse("moco:pretrain.optim.lr=1"),)}, "'moco' is swept"),
        ({"variants": ("supervised",)}, "nothing to be compared"),
        ({"variants": ("mscl", "mscl")}, "would count twice"),
        ({"controls": ("mcsl",)}, "control 'mcsl' is not one of the variants .mscl."),
        # Was said when all was trained, and its picture could not be written.
        ({"name": "sets/mine"}, "name 'sets/mine' is to name a file, too"),
        ({"name": ""}, "name '' is to name a file, too"),
        ({"sweeps": (Sweep.parse("mscl:clip.stride=1"), Sweep.parse("mscl:clip.length=4"))}, "two sweeps are of one"),
    ],
)
def test_plans_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    settings = {"name": "set", "base": "demo", "variants": ("mscl",), "seeds": (0, 1)} | changes
    with pytest.raises(ValueError, match=message):
        AblationPlan.model_validate(settings)


@pytest.mark.parametrize("setting", ["pretrain.encoder=random", "probe.head=knn", "retrieve.ks=5,10"])
def test_what_would_stand_under_another_name_in_the_tables_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"^{setting}: "):
        planned_runs(AblationPlan(name="set", base="demo", variants=("mscl",), overrides=(setting,)))


def test_the_ceiling_is_of_the_seed_and_the_test_videos_of_its_run() -> None:
    """`finetune-ucf101` tests on three splits, and one of them is what the other rows of a seed are of."""
    plan = AblationPlan(
        name="set", base="ucf101+finetune-ucf101", variants=("mscl", "supervised"), seeds=(4, 5),
        folds=("data.split=1", "data.split=2"), overrides=("finetune.seeds=0,1",),
    )  # fmt: skip
    for run in planned_runs(plan):
        ceiling = supervised(run.config)
        assert ceiling.finetune.splits == run.config.probe.splits == () and ceiling.data.split == run.seed - 3
        assert ceiling.finetune.all_seeds == (run.seed,) and ceiling.finetune.initial == "random"
    assert supervised(load_config("demo", ["probe.splits=1,2"])).finetune.splits == (1, 2)


def test_two_sets_of_superclasses_are_refused() -> None:
    halves = ("probe.superclasses={x: [a], y: [b]}", "retrieve.superclasses={x: [b], y: [a]}")
    with pytest.raises(ConfigError, match="probe.superclasses .x, y. and retrieve.superclasses .x, y. differ"):
        planned_runs(AblationPlan(name="set", base="demo", variants=("mscl",), overrides=halves))


@pytest.mark.parametrize(
    "change", ["data.test_fraction=0.5", "embed.clips=3", "probe.folds=2", "retrieve.centre=gallery"]
)
def test_a_variant_that_is_scored_in_another_way_is_refused(tmp_path: Path, change: str) -> None:
    setting, _, value = change.partition("=")
    section, name = setting.split(".")
    (tmp_path / "mine.yaml").write_text(f"{section}: {{{name}: {value}}}\n")
    plan = {"name": "set", "base": "demo", "seeds": (0,)}
    own = AblationPlan.model_validate(plan | {"variants": ("mscl", f"{tmp_path}/mine.yaml")})
    swept = AblationPlan.model_validate(plan | {"variants": ("mscl",), "sweeps": (Sweep.parse(f"mscl:{change}"),)})
    for one in (own, swept):
        with pytest.raises(ConfigError, match=f"has {setting}={value}, and the base .*set it for all variants"):
            planned_runs(one)
    planned_runs(AblationPlan.model_validate(plan | {"variants": ("mscl", "moco"), "overrides": (change,)}))


def test_an_unknown_variant_and_a_sweep_of_another_form_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown overlay 'mscl-no-magic'; did you mean 'mscl-no-lmcl'"):
        planned_runs(AblationPlan(name="set", base="demo", variants=("mscl-no-magic",)))
    with pytest.raises(ConfigError, match="VARIANT:SECTION.NAME=VALUE"):
        Sweep.parse("pretrain.optim.lr=1,2")


def test_a_plan_survives_a_file() -> None:
    plan = AblationPlan(name="set", base="demo", variants=("mscl",), sweeps=(Sweep.parse("mscl:clip.stride=1,2"),))
    assert AblationPlan.model_validate(yaml.safe_load(yaml.safe_dump(plan.model_dump(mode="json")))) == plan
