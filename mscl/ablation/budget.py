"""What runs were given: as long as the reference took, and what of steps, batch, optimiser is not the reference's."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mscl.ablation.plan import EQUAL_TIME, REFERENCE, AblationPlan, PlannedRun
from mscl.config.trees import joined
from mscl.devices import device_of, gpus_to_use

Runs = Mapping[tuple[str, int], PlannedRun]
"""Preset and seed -> the run."""


def train_for_equal_time(
    plan: AblationPlan,
    runs: Runs,
    winners: Mapping[str, str],
    *,
    steps_of: Callable[[str, int], int],
    train: Callable[[PlannedRun], None],
) -> dict[str, Any]:
    """Train the plan's variants for as long as the reference was; returns `equal_time_steps` and `step_seconds`.

    Args:
        plan: says which.
        runs: those that are trained.
        winners: swept variant -> what stands for it.
        steps_of: preset, seed -> optimiser steps that it was trained for.
        train: trains a run, after which `steps_of` knows it.
    """
    if not plan.equal_time:
        return {"equal_time_steps": {}}
    import torch

    from mscl.ablation.cost import step_costs

    reference = winners.get(REFERENCE, REFERENCE)
    names = {variant: winners.get(variant, variant) for variant in plan.equal_time}
    configs = {name: runs[name, plan.seeds[0]].config for name in (reference, *names.values())}
    runtime = configs[reference].runtime
    costs = step_costs(configs, device=torch.device(device_of(0, gpus_to_use(runtime.device, runtime.gpus))))
    steps = {}
    for variant, name in names.items():
        label = variant + EQUAL_TIME
        # One decimal: measured again, the ratio is the same, and finished runs are found again.
        ratio = round(costs[reference] / costs[name], 1)
        for seed in plan.seeds:
            wanted = round(steps_of(reference, seed) * ratio)
            train(runs[name, seed].for_steps(label, wanted, before=steps_of(name, seed)))
        steps[label] = spanned(steps_of(label, seed) for seed in plan.seeds)  # whole epochs, so not what was wanted
    return {"equal_time_steps": steps, "step_seconds": {name: round(cost, 4) for name, cost in costs.items()}}


def own_budgets(runs: Runs, steps_of: Callable[[str, int], int], *, reference: str) -> dict[str, str]:
    """Preset -> what it was given, where that is not what `reference` was given with the same seed; in words."""
    found: dict[str, dict[str, None]] = {}
    for preset, seed in runs:
        own, theirs = (_budget(runs[name, seed], steps_of(name, seed)) for name in (preset, reference))
        for setting in own:
            if own[setting] != theirs[setting] and not (setting == "steps" and preset.endswith(EQUAL_TIME)):
                said = f"{setting} {own[setting]} and not {theirs[setting]}"
                found.setdefault(preset, {})[said] = None
    return {preset: ", ".join(said) for preset, said in found.items()}


def facts_over_seeds(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Chance and numbers of videos of a set, of what each seed has: with folds each has a test split of its own."""
    every = list(facts)
    names = every[0]["chance"]
    return {
        "chance": {name: sum(one["chance"][name] for one in every) / len(every) for name in names},
        "test_videos": spanned(one["test_videos"] for one in every),
        "train_videos": spanned(one["train_videos"] for one in every),
    }


def spanned(numbers: Iterable[int]) -> int | str:
    """The number that all are, else `4 to 6`."""
    every = set(numbers)
    return every.pop() if len(every) == 1 else f"{min(every)} to {max(every)}"


def _budget(run: PlannedRun, steps: int) -> dict[str, Any]:
    pretrain = run.config.pretrain
    return {"steps": steps} | joined({"batch_size": pretrain.batch_size, "optim": pretrain.optim.model_dump()})
