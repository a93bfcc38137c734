"""How a score was taken: the protocol in full, where it departs from the one it is named after, and every run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mscl.config import build_config, overlay_names, overlay_tree
from mscl.display.blocks import Block, Note, Table
from mscl.stage.view import StageView

HEADS = {"linear": "Linear probe", "knn": "k nearest neighbours"}
"""Titles of the classifiers on frozen features."""


def protocol_blocks(stages: Mapping[str, StageView], name: str) -> list[Block]:
    """Settings of a stage that scores, with those of the features that it reads and what else the protocol asks for,
    the size of the frames for example; and its notes.

    Nothing where no protocol is named: the page's settings say the same.
    """
    view = stages[name]
    blocks: list[Block] = [Note(f"{note}.") for note in view.metrics.get("notes", []) if name != "retrieve"]
    protocol = str(view.config.get(name, {}).get("protocol", ""))
    if not protocol:
        return blocks
    sections: dict[str, Any] = {}
    if name != "finetune" and "embed" in stages:
        sections |= {section: stages["embed"].config.get(section, {}) for section in ("clip", "embed")}
    sections[name] = view.config[name]
    wanted = _wanted(protocol)
    flow = stages["extract"].config.get("flow", {}) if "extract" in stages else {}
    asked = {setting.removeprefix("flow.") for setting in wanted if setting.startswith("flow.")}
    sections["flow"] = {setting: value for setting, value in flow.items() if setting in asked}
    rows, departs, scored = [], 0, _splits(view.metrics)
    for setting, value in _flat(sections):
        if setting == f"{name}.protocol":
            continue
        other = setting in wanted and wanted[setting] != value
        departs += other
        beside = f"protocol: {_shown(wanted[setting])}" if other else ""
        if setting == f"{name}.splits" and scored and list(value) not in ([], scored):
            beside = f"{beside}{'; ' if beside else ''}the dataset has one split, which was scored"
        rows.append((setting, _shown(value), beside))
    state = f", {departs} setting{'s' if departs > 1 else ''} changed" if departs else ""
    caption = f"Protocol {protocol} in full{state}"
    return [*blocks, Table(("setting", "value", ""), tuple(rows), caption=caption, words=True)]


def run_blocks(metrics: Mapping[str, Any], *, score: str = "top1", what: str = "") -> list[Block]:
    """Every split and seed behind a mean, where there are several."""
    runs = metrics.get("runs", [])
    if len(runs) < 2:
        return []
    by_class = score == "top1"
    columns = [("split", "split"), ("seed", "seed")] if by_class else [("split", "split")]
    counts = [("num_test", "test videos")] if by_class else [("query", "queries"), ("gallery", "gallery")]
    scores = [s for s in (score, "top5", "mean_class", "R@5", "mAP") if all(s in run for run in runs)]
    titles = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "class mean %"}
    head = (*(title for _, title in columns), *(titles.get(s, f"{s} %") for s in scores), *(t for _, t in counts))
    rows = [
        (*(str(run[c]) for c, _ in columns), *(_percent(run, s) for s in scores), *(f"{run[c]:,}" for c, _ in counts))
        for run in runs
    ]
    mean = ("mean", *("" for _ in columns[1:]), *(_percent(metrics, s) for s in scores), *("" for _ in counts))
    return [Table(head, (mean, *rows), caption=f"{what}: {spread_of(metrics, score)}", strong_first=True)]


def spread_of(metrics: Mapping[str, Any], score: str = "top1") -> str:
    """What a mean is taken over, and how far the parts lie apart, as a phrase; empty where it is no mean."""
    parts = []
    for which in ("splits", "seeds"):
        numbers: Sequence[int] = metrics.get(which, ())
        if len(numbers) > 1:
            spread = metrics.get(f"{score}_std_{which}")
            apart = f" (standard deviation {100 * spread:.1f})" if spread is not None else ""
            parts.append(f"{which} {', '.join(map(str, numbers))}{apart}")
    return f"mean over {' and '.join(parts)}" if parts else ""


def _splits(metrics: Mapping[str, Any]) -> list[int]:
    """Official splits that the scores are of."""
    variants = [metrics, *(values for values in metrics.values() if isinstance(values, Mapping))]
    return next((list(values["splits"]) for values in variants if values.get("splits")), [])


def _wanted(protocol: str) -> dict[str, Any]:
    """Setting -> value, of those that the protocol's overlay names."""
    if protocol not in overlay_names():
        return {}
    tree = overlay_tree(protocol)
    config = build_config(tree, source=protocol).model_dump(mode="json")
    return {setting: _value(config, setting) for setting, _ in _flat(tree)}


def _value(tree: Mapping[str, Any], setting: str) -> Any:
    found: Any = tree
    for part in setting.split("."):
        found = found[part]
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "–"


def _percent(metrics: Mapping[str, Any], score: str) -> str:
    interval = metrics.get(f"{score}_interval")
    text = f"{100 * metrics[score]:.1f}" if score in metrics else ""
    return f"{text} ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})" if interval and text else text
