"""Equal time, and what the page says that runs were given: what was trained, not what was asked for."""

from types import SimpleNamespace

import pytest

from mscl.ablation.budget import facts_over_seeds, own_budgets, train_for_equal_time
from mscl.ablation.plan import AblationPlan, PlannedRun, Sweep, planned_runs
from mscl.ablation.rows import LINEAR

PER_EPOCH = 10


def trained_plan(monkeypatch: pytest.MonkeyPatch, plan: AblationPlan, costs: dict[str, float]) -> SimpleNamespace:
    """A plan as run where an epoch has ten steps and steps cost what is given."""
    monkeypatch.setattr("mscl.ablation.cost.step_costs", lambda configs, **_: {name: costs[name] for name in configs})
    runs: dict[tuple[str, int], PlannedRun] = {}

    def train(run: PlannedRun) -> None:
        runs[run.preset, run.seed] = run

    def steps_of(preset: str, seed: int) -> int:
        return runs[preset, seed].config.pretrain.total_steps(PER_EPOCH)

    for run in planned_runs(plan):
        train(run)
    winners = {sweep.variant: sweep.label(sweep.values[0]) for sweep in plan.sweeps}
    facts = train_for_equal_time(plan, runs, winners, steps_of=steps_of, train=train)
    return SimpleNamespace(runs=runs, steps_of=steps_of, facts=facts)


def plan_of(*sweeps: str, epochs: int = 6) -> AblationPlan:
    return AblationPlan(
        name="set", base="demo", variants=("mscl", "moco"), seeds=(0,), equal_time=("moco",),
        overrides=(f"pretrain.epochs={epochs}", "pretrain.min_steps=0"), sweeps=tuple(map(Sweep.parse, sweeps)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("moco_costs", "steps"),
    [(0.5, 120), (0.48, 130), (1.5, 50)],  # of 60: twice; 2.1 times are 126, whole epochs 130; .7 times are 42
)
def test_equal_time_says_the_steps_that_were_trained(
    monkeypatch: pytest.MonkeyPatch, moco_costs: float, steps: int
) -> None:
    done = trained_plan(monkeypatch, plan_of(), {"mscl": 1.0, "moco": moco_costs})
    assert done.steps_of("mscl", 0) == 60 and done.steps_of("moco-equal-time", 0) == steps
    assert done.facts["equal_time_steps"] == {"moco-equal-time": steps}


def test_equal_time_is_the_time_of_the_reference_whatever_its_variant_had(monkeypatch: pytest.MonkeyPatch) -> None:
    done = trained_plan(monkeypatch, plan_of("moco:pretrain.epochs=9"), {"mscl": 1.0, "moco epochs=9": 0.5})
    assert done.facts["equal_time_steps"] == {"moco-equal-time": 120}
    assert own_budgets(done.runs, done.steps_of, reference="mscl") == {"moco epochs=9": "steps 90 and not 60"}
    swept = trained_plan(monkeypatch, plan_of("mscl:pretrain.optim.lr=0.5"), {"mscl lr=0.5": 1.0, "moco": 0.5})
    assert swept.facts["equal_time_steps"] == {"moco-equal-time": 120}
    assert own_budgets(swept.runs, swept.steps_of, reference="moco") == {
        "mscl lr=0.5": f"optim.lr 0.5 and not {swept.runs['moco', 0].config.pretrain.optim.lr}"
    }


def test_chance_and_sizes_are_those_of_all_seeds() -> None:
    """With folds every seed has a test split of its own; those of the first are not all."""
    folds = [
        {"chance": {LINEAR: chance}, "test_videos": size, "train_videos": 9} for chance, size in ((0.5, 4), (0.2, 6))
    ]
    assert facts_over_seeds(folds) == {"chance": {LINEAR: 0.35}, "test_videos": "4 to 6", "train_videos": 9}
