"""Results of ablations as files: rows (JSON), settings (JSON), one Markdown page, one picture per dataset."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mscl.ablation.figure import dot_plot
from mscl.ablation.plan import REFERENCE, AblationPlan, planned_runs
from mscl.ablation.rows import (
    LEAST_PAIRS,
    METRIC_TITLES,
    SHUFFLED_SUFFIX,
    STILL_SUFFIXES,
    SeedScore,
    as_json,
    difference,
    from_json,
    presets_of,
    score,
)
from mscl.display.blocks import Table
from mscl.display.style import card_svg, for_card
from mscl.errors import ConfigError
from mscl.report.markdown import markdown_table
from storage.atomic import write_atomic
from storage.json_files import read_json, write_json

ROWS, SETTINGS, PAGE = "ablation.json", "ablation-settings.json", "ablation.md"
Settings = Mapping[str, Mapping[str, Any]]
_ROOT = "data.root="


def write_results(folder: Path, rows: Sequence[SeedScore], settings: Settings) -> None:
    """Write rows, settings, page and pictures of one or more datasets into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ROWS, as_json(rows))
    write_json(folder / SETTINGS, dict(settings))
    sections = []
    for name, facts in settings.items():
        own = [row for row in rows if row.set == name]
        picture = f"ablation-{name}.svg"
        write_atomic(folder / picture, card_svg(_picture(own, facts)).encode())
        sections.append(_section(name, own, facts, picture=quote(picture)))
    write_atomic(folder / PAGE, "\n\n".join([_HEAD, *sections]).encode() + b"\n")


def refuse_another_dataset(folder: Path, plan: AblationPlan) -> None:
    """Ask before hours of training whether what they give would take the place of another dataset of that name.

    Raises:
        ConfigError: `folder` holds a dataset of the plan's name that was made of other data.
    """
    if not (folder / SETTINGS).is_file() or (known := read_json(folder / SETTINGS).get(plan.name)) is None:
        return
    folds = [fold.removeprefix(_ROOT) for fold in known["plan"]["folds"] if fold.startswith(_ROOT)]
    there = folds or [known["config"]["data"]["root"]]
    here = list(dict.fromkeys(run.config.data.root for run in planned_runs(plan)))
    if not {Path(root).resolve() for root in there} & {Path(root).resolve() for root in here}:
        raise ConfigError(
            f"{folder} holds a dataset named {plan.name!r}, of {', '.join(there)}; this one, of {', '.join(here)}, "
            "would take its place: give it another --name"
        )


def merge_results(folder: Path, rows: Sequence[SeedScore], settings: Settings) -> None:
    """As `write_results`, beside the datasets that `folder` holds already; those of the same name keep their place.

    Of a dataset that was written by a process that was killed one file may be there; the same command writes it again.
    """
    kept: list[SeedScore] = []
    known: dict[str, Any] = {}
    if (folder / ROWS).is_file() and (folder / SETTINGS).is_file():
        known = read_json(folder / SETTINGS)
        kept = [row for row in from_json(read_json(folder / ROWS)) if row.set in known and row.set not in settings]
        whole = {row.set for row in kept} | set(settings)
        known = {name: facts for name, facts in known.items() if name in whole}
    write_results(folder, [*kept, *rows], known | dict(settings))


def markdown(rows: Sequence[SeedScore], settings: Settings) -> str:
    """The page as one text, pictures inside, for places that hold no files."""
    sections = []
    for name, facts in settings.items():
        own = [row for row in rows if row.set == name]
        sections.append(_section(name, own, facts, picture=for_card(_picture(own, facts))))
    return "\n\n".join([_HEAD, *sections])


def _picture(rows: Sequence[SeedScore], facts: Mapping[str, Any]) -> str:
    return dot_plot(rows, chance=facts["chance"], reference=REFERENCE)


_HEAD = f"""# Ablation

Every preset of a dataset was trained with the same number of steps, batch size, optimiser and seeds, and scored on the
test split with the same code. *random* is the encoder before training, *first, middle, last frame* a trained encoder on
clips that repeat that one frame: what it scores there is not motion. *shuffled*: the frames of each clip in random
order, which still show along which line something moves, and not which way. A difference is taken seed by seed,
{REFERENCE} minus the preset, ± its 95 % interval (Student's t over the seeds; none below {LEAST_PAIRS}): one that is
smaller than its interval is not settled. Numbers are % of the test videos, scores with their deviation over the seeds;
`{ROWS}` holds every one, `{SETTINGS}` all settings."""


def _section(name: str, rows: Sequence[SeedScore], facts: Mapping[str, Any], *, picture: str) -> str:
    plan = facts["plan"]
    lines = [f"## {name}", "", f"![scores of every preset on {name}]({picture})", ""]
    table = scores_table(rows)
    lines.append(markdown_table(table.head, table.rows))
    chance = ", ".join(f"{METRIC_TITLES[metric]} {100 * value:.1f}" for metric, value in facts["chance"].items())
    lines += ["", f"Chance: {chance}. {facts['test_videos']} test and {facts['train_videos']} train videos; "
              f"seeds {', '.join(map(str, plan['seeds']))}; base `{plan['base']}`, changed by "
              f"`{' '.join(plan['overrides']) or 'nothing'}`."]  # fmt: skip
    if plan["folds"]:
        lines.append(
            "Every seed has a test split of its own: " + "; ".join(f"`{fold}`" for fold in plan["folds"]) + "."
        )
    seeds_of = {preset: {row.seed for row in rows if row.preset == preset} for preset in presets_of(rows)}
    if few := [f"{preset} {sorted(seeds)}" for preset, seeds in seeds_of.items() if len(seeds) < len(plan["seeds"])]:
        lines.append(f"Not of every seed: {', '.join(few)}.")
    for preset, own in facts.get("own_budgets", {}).items():
        lines.append(f"{preset} was trained with {own}.")
    for variant, winner in facts["winners"].items():
        lines.append(f"{variant} stands for {winner}, the best of its sweep by these very test scores: to its favour.")
    for label, steps in facts["equal_time_steps"].items():
        costs = ", ".join(f"{preset} {1000 * cost:.0f}" for preset, cost in facts["step_seconds"].items())
        lines.append(f"{label}: {steps} steps, what the steps of {REFERENCE} cost (CPU ms a step: {costs}).")
    return "\n".join(lines)


def scores_table(rows: Sequence[SeedScore], name: str = "") -> Table:
    """Presets as rows; of each metric the score, the difference to the reference, and the scores of the controls."""
    head = ["preset"]
    for title in METRIC_TITLES.values():
        head += [title, f"{REFERENCE} minus it", "first, middle, last frame", "shuffled"]
    lines = []
    for preset in presets_of(rows):
        cells = [preset]
        for metric in METRIC_TITLES:
            cells += [
                shown_score(rows, preset, metric),
                shown_difference(rows, preset, metric),
                _still(rows, preset, metric),
                shown_score(rows, preset, metric + SHUFFLED_SUFFIX, spread=False),
            ]
        lines.append(tuple(cells))
    return Table(tuple(head), tuple(lines), caption=f"{name}: % of the test videos, mean ± deviation over seeds")


def _still(rows: Sequence[SeedScore], preset: str, metric: str) -> str:
    """Means on the first, middle and last frame, as far as they were taken."""
    shown = [shown_score(rows, preset, metric + control, spread=False) for control in STILL_SUFFIXES]
    return ", ".join(score or "–" for score in shown) if any(shown) else ""


def shown_score(rows: Sequence[SeedScore], preset: str, metric: str, *, spread: bool = True) -> str:
    """Mean and deviation in %, or nothing."""
    found = score(rows, preset, metric)
    if found is None:
        return ""
    return f"{100 * found.mean:.1f}" + (
        "" if math.isnan(found.spread) or not spread else f" ± {100 * found.spread:.1f}"
    )


def shown_difference(rows: Sequence[SeedScore], preset: str, metric: str) -> str:
    """Mean and 95 % interval of the difference to the reference in %, or nothing."""
    found = difference(rows, REFERENCE, preset, metric)
    if found is None or preset == REFERENCE:
        return ""
    return f"{100 * found.mean:+.1f}" + ("" if math.isnan(found.half_width) else f" ± {100 * found.half_width:.1f}")
