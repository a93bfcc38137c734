"""Train and score every run of a plan, through the pipeline's own stages: what is done already is reused."""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Any

from mscl.ablation.budget import facts_over_seeds, own_budgets, train_for_equal_time
from mscl.ablation.page import write_results
from mscl.ablation.plan import (
    RANDOM_WEIGHTS,
    REFERENCE,
    STAGE,
    SUPERVISED,
    AblationPlan,
    PlannedRun,
    planned_runs,
    supervised,
)
from mscl.ablation.rows import LINEAR, RETRIEVAL, SeedScore, best_of, renamed
from mscl.ablation.run_scores import RunScores, scores_of, superclass_set, superclass_top1
from mscl.errors import DataError
from mscl.finetune.scores import FinetuneMetrics
from mscl.pipeline import BY_NAME, Outcome, execute, run_pipeline, stages_for
from mscl.progress import Progress
from mscl.score.scores import percent
from mscl.stage.skipped import Skipped
from storage.garbage import RUNS
from storage.record import result_key
from storage.result_folder import Result
from storage.workspace import Workspace

VERSION = 2
"""2: scores by superclasses are rows, too."""


@dataclass(frozen=True)
class Ablation:
    """A finished ablation."""

    result: Result
    rows: list[SeedScore]
    settings: dict[str, Any]
    """By set: the dataset, and the same by superclasses."""


def run_ablation(workspace: Workspace, plan: AblationPlan, *, progress: Progress) -> Ablation:
    """Every run of the plan, then sweeps' winners and equal time; rows, table and pictures in one result.

    Raises:
        UserError: a setting, dataset or training run that failed. What was finished is kept and reused.
    """
    began = time.monotonic()
    runner = _Runner(workspace, plan, progress)
    runs = planned_runs(plan)
    total = len(runs) + len(plan.seeds) * (len(plan.equal_time) + (SUPERVISED in plan.variants))
    runner.total = total
    for run in runs:
        runner.train(run)
    by_class = runner.rows[plan.name]
    winners = {sweep.variant: best_of(by_class, [sweep.label(v) for v in sweep.values]) for sweep in plan.sweeps}
    for variant, winner in winners.items():
        progress.say(f"{variant}: {winner} is best and stands for it")
        for rows in runner.rows.values():
            rows += renamed(rows, winner, variant)
    reference = winners.get(REFERENCE, REFERENCE) if REFERENCE in plan.variants else runs[0].preset
    equal = train_for_equal_time(plan, runner.runs, winners, steps_of=runner.steps_of, train=runner.train)
    if SUPERVISED in plan.variants:
        for seed in plan.seeds:
            runner.supervise(seed)
    shared = {
        "plan": plan.model_dump(mode="json"),
        "config": runs[0].config.model_dump(mode="json", exclude={"runtime"}),
        "winners": winners,
        "own_budgets": own_budgets(runner.runs, runner.steps_of, reference=reference),
        **equal,
    }
    settings = {name: shared | facts_over_seeds(facts.values()) for name, facts in runner.scored.items()}
    rows = [row for own in runner.rows.values() for row in own]
    keys = {f"{preset} {seed}": found for (preset, seed), found in runner.keys.items()}
    return _commit(workspace, plan, rows, settings, keys, seconds=time.monotonic() - began)


class _Runner:
    """Trains runs and gathers their rows."""

    def __init__(self, workspace: Workspace, plan: AblationPlan, progress: Progress) -> None:
        self.workspace = workspace
        self.plan = plan
        self.progress = progress
        self.rows: defaultdict[str, list[SeedScore]] = defaultdict(list)
        """By set: the dataset, and the same by superclasses."""
        self.scored: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        """Set -> seed -> chance and numbers of videos."""
        self.runs: dict[tuple[str, int], PlannedRun] = {}
        self.done: dict[tuple[str, int], dict[str, Outcome]] = {}
        self.keys: dict[tuple[str, int], dict[str, str]] = {}
        self.total = 0

    def train(self, run: PlannedRun) -> None:
        """Pre-train, embed, probe and retrieve."""
        self._announce(run.preset, run.seed)
        outcomes = run_pipeline(
            self.workspace, run.config, stages=stages_for("probe", "retrieve"),
            run_one=partial(execute, progress=self.progress),
        )  # fmt: skip
        self.runs[run.preset, run.seed], self.done[run.preset, run.seed] = run, outcomes
        read = ("pretrain", "embed", "probe", "retrieve")
        self.keys[run.preset, run.seed] = {name: outcomes[name].result.key for name in read}
        metrics = {name: outcomes[name].result.record.metrics for name in ("probe", "retrieve")}
        for scores in scores_of(metrics, name=self.plan.name):
            self._add(run, scores)

    def _add(self, run: PlannedRun, scores: RunScores) -> None:
        """Rows of a run by one set of labels; those of random weights once a seed, whatever was trained from them."""
        rows = self.rows[scores.set]
        rows += [SeedScore(scores.set, run.preset, run.seed, *score) for score in scores.of_run.items()]
        if not any(row.preset == RANDOM_WEIGHTS and row.seed == run.seed for row in rows):
            rows += [SeedScore(scores.set, RANDOM_WEIGHTS, run.seed, *score) for score in scores.of_random.items()]
        self.scored[scores.set].setdefault(run.seed, scores.facts)
        r1, top1 = scores.of_run[RETRIEVAL], scores.of_run[LINEAR]
        self.progress.say(f"    {scores.set}: R@1 {percent(r1)}, linear {percent(top1)}")

    def steps_of(self, preset: str, seed: int) -> int:
        """Optimiser steps that a run was trained for."""
        return int(self.done[preset, seed]["pretrain"].result.record.metrics["steps"])

    def supervise(self, seed: int) -> None:
        """The ceiling: the same encoder and a classifier, trained on the labels from random weights."""
        self._announce(SUPERVISED, seed)
        (preset, _), outcomes = next((key, found) for key, found in self.done.items() if key[1] == seed)
        config = supervised(self.runs[preset, seed].config)
        results = {name: outcome.result for name, outcome in outcomes.items()}
        outcome = execute(BY_NAME["finetune"], self.workspace, config, results, progress=self.progress)
        self.keys[SUPERVISED, seed] = {"finetune": outcome.result.key}
        metrics = FinetuneMetrics.read(outcome.result.record.metrics)
        if isinstance(metrics, Skipped):
            raise DataError(f"{self.plan.name}: nothing to score: {metrics.reason}")
        top1 = metrics.scores.top1.value
        self.rows[self.plan.name].append(SeedScore(self.plan.name, SUPERVISED, seed, LINEAR, top1))
        if (coarse := superclass_set(self.plan.name)) in self.rows:
            right = superclass_top1(outcome.result.folder, config.probe.superclasses)
            self.rows[coarse].append(SeedScore(coarse, SUPERVISED, seed, LINEAR, right))
        self.progress.say(f"    top-1 {percent(top1)}")

    def _announce(self, preset: str, seed: int) -> None:
        self.progress.say(f"[{len(self.keys) + 1}/{self.total}] {self.plan.name}: {preset}, seed {seed}")


def _commit(
    workspace: Workspace,
    plan: AblationPlan,
    rows: list[SeedScore],
    settings: dict[str, Any],
    keys: dict[str, Any],
    *,
    seconds: float,
) -> Ablation:
    config = {"settings": settings, RUNS: keys}
    inputs = {"retrieve": next(found["retrieve"] for found in keys.values() if "retrieve" in found)}
    key = result_key(STAGE, VERSION, {"plan": plan.model_dump(mode="json"), "results": keys}, inputs)
    with workspace.claim(STAGE, key) as folder:
        # Measured times differ where the plan is run again: until all is written, no record vouches for the files.
        workspace.begin(STAGE, key, config=config, inputs=inputs)
        write_results(folder, rows, settings)
        result = workspace.commit(
            STAGE, key, version=VERSION, config=config, inputs=inputs, metrics={"rows": len(rows)},
            timings={"seconds": round(seconds, 3)},
        )  # fmt: skip
    return Ablation(result, rows, settings)
