"""Plans: what is trained with which settings, and what is refused."""

import pytest
import yaml

from mscl.ablation.plan import AblationPlan, Sweep, cells_of
from mscl.config import ExperimentConfig, load_config, preset_names
from mscl.config.variants import variant_names, variant_of
from mscl.errors import ConfigError


def test_the_reference_changes_nothing_and_every_other_variant_does() -> None:
    base = load_config("demo")
    assert variant_of(base, "mscl") == base
    changed = {name: variant_of(base, name) for name in variant_names() if name != "mscl"}
    assert all(config != base for config in changed.values())
    assert len({config.model_dump_json() for config in changed.values()}) == len(changed)


@pytest.mark.parametrize("name", sorted({*variant_names()} & {*preset_names()}))
def test_a_preset_and_the_variant_of_its_name_say_the_same(name: str) -> None:
    assert load_config(name) == variant_of(load_config("kinetics400-r18"), name)


def test_variants_keep_the_budget_and_the_optimiser() -> None:
    base = load_config("demo")
    for name in variant_names():
        ours = variant_of(base, name).pretrain
        for setting in ("epochs", "min_steps", "batch_size", "optim", "model", "key_momentum"):
            assert getattr(ours, setting) == getattr(base.pretrain, setting), (name, setting)


def test_cells_go_seed_by_seed_with_folds_and_sweeps() -> None:
    plan = AblationPlan(
        name="set", base="demo", variants=("mscl", "moco", "supervised"), seeds=(5, 6),
        folds=("data.test_pattern=a", "data.test_pattern=b"),
        sweeps=(Sweep.parse("moco:pretrain.optim.lr=0.001,0.003"),), overrides=("clip.stride=1",),
    )  # fmt: skip
    cells = cells_of(plan)
    names = ["mscl", "moco lr=0.001", "moco lr=0.003"]
    assert [(cell.preset, cell.seed) for cell in cells] == [(name, seed) for seed in (5, 6) for name in names]
    assert [cell.config.pretrain.seed for cell in cells] == [5, 5, 5, 6, 6, 6]
    assert [cell.config.data.test_pattern for cell in cells] == ["a"] * 3 + ["b"] * 3
    assert [cell.config.pretrain.optim.lr for cell in cells[1:3]] == [0.001, 0.003]
    assert [cell.config.pretrain.loss.flow for cell in cells[:3]] == [True, False, False]
    assert all(cell.config.clip.stride == 1 for cell in cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": ("data.split=1",)}, "1 folds for 2 seeds"),
        ({"seeds": (1, 1)}, "repeat"),
        ({"equal_time": ("moco",), "variants": ("moco",)}, "'mscl', which is not one of"),
        ({"sweeps": (Sweep.parse("moco:pretrain.optim.lr=1"),)}, "'moco' is swept"),
        ({"variants": ("supervised",)}, "nothing to be compared"),
    ],
)
def test_plans_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    settings = {"name": "set", "base": "demo", "variants": ("mscl",), "seeds": (0, 1)} | changes
    with pytest.raises(ValueError, match=message):
        AblationPlan.model_validate(settings)


def test_an_unknown_variant_and_a_sweep_of_another_form_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'mscl-no-magic'; variants: mscl, mscl-no-fra"):
        variant_of(ExperimentConfig(), "mscl-no-magic")
    with pytest.raises(ConfigError, match="VARIANT:SECTION.NAME=VALUE"):
        Sweep.parse("pretrain.optim.lr=1,2")


def test_a_plan_survives_a_file() -> None:
    plan = AblationPlan(name="set", base="demo", variants=("mscl",), sweeps=(Sweep.parse("mscl:clip.stride=1,2"),))
    assert AblationPlan.model_validate(yaml.safe_load(yaml.safe_dump(plan.model_dump(mode="json")))) == plan
