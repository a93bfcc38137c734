"""How a score was taken: the protocol in full, and where it departs from the one it is named after."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mscl.config import ExperimentConfig, build_config, overlay_names, overlay_tree
from mscl.config.base import Section
from mscl.config.trees import joined
from mscl.display.blocks import Block, Table
from mscl.stage.view import Stages


def protocol_blocks(stages: Stages, name: str, scored: Sequence[int] = ()) -> list[Block]:
    """Settings of a stage that scores, with those of the features that it reads.

    Nothing where no protocol is named: the page's settings say the same.

    Args:
        scored: official splits that the scores are of.
    """
    view = stages[name]
    protocol = str(view.config.get(name, {}).get("protocol", ""))
    if not protocol:
        return []
    sections: dict[str, Any] = {}
    if name != "finetune" and "embed" in stages:
        sections |= {section: stages["embed"].config.get(section, {}) for section in ("clip", "embed")}
    sections[name] = view.config[name]
    wanted = _wanted(protocol)
    rows, departs = [], 0
    for setting, value in (joined(sections) | _unrecorded(sections, wanted)).items():
        if setting == f"{name}.protocol":
            continue
        other = setting in wanted and wanted[setting] != value
        departs += other
        beside = f"protocol: {_shown(wanted[setting])}" if other else ""
        if setting == f"{name}.splits" and scored and list(value) not in ([], list(scored)):
            beside = f"{beside}{'; ' if beside else ''}the dataset has one split, which was scored"
        rows.append((setting, _shown(value), beside))
    state = f", {departs} setting{'s' if departs > 1 else ''} changed" if departs else ""
    caption = f"Protocol {protocol} in full{state}"
    return [Table(("setting", "value", ""), tuple(rows), caption=caption, words=True)]


def _wanted(protocol: str) -> dict[str, Any]:
    """Setting -> value, of those that the protocol's overlay names."""
    if protocol not in overlay_names():
        return {}
    tree = overlay_tree(protocol)
    config = build_config(tree, source=protocol).model_dump(mode="json")
    return {setting: _value(config, setting) for setting in joined(tree)}


def _unrecorded(sections: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Of the settings that a protocol names, those that a record leaves out: they are as before they came."""
    recorded, found = joined(sections), {}
    for setting in wanted:
        section, _, name = setting.partition(".")
        if section in sections and setting not in recorded:
            kind = ExperimentConfig.model_fields[section].annotation
            assert isinstance(kind, type) and issubclass(kind, Section)
            if name in (before := kind.done_before()):
                found[setting] = before[name]
    return found


def _value(tree: Mapping[str, Any], setting: str) -> Any:
    found: Any = tree
    for part in setting.split("."):
        found = found[part]
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else "–"
