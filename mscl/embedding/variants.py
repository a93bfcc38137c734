"""The variants that are scored side by side: an encoder and the clips it is shown."""

from collections.abc import Iterable

from mscl.stage.view import Stages

VARIANT_NAMES = {
    "trained": "trained",
    "untrained": "untrained",
    "trained_frozen": "trained, frozen",
    "untrained_frozen": "untrained, frozen",
}
"""Variant -> how tables and pictures call it, in their order; frozen: on clips that repeat one frame."""
_LONGEST_NAME = 20


def in_order(variants: Iterable[str]) -> list[str]:
    """Variants in the order of `VARIANT_NAMES`, then those that it does not name."""
    found = list(variants)
    return [*(name for name in VARIANT_NAMES if name in found), *(name for name in found if name not in VARIANT_NAMES)]


def variant_names(stages: Stages) -> dict[str, str]:
    """`VARIANT_NAMES` for one lineage: an encoder that was given is called so, since it was not trained here."""
    given = str(stages["pretrain"].metrics.get("given", "")) if "pretrain" in stages else ""
    if not given:
        return dict(VARIANT_NAMES)
    name = given if len(given) <= _LONGEST_NAME else f"{given[: _LONGEST_NAME - 1]}…"
    return {**VARIANT_NAMES, "trained": f"given: {name}", "trained_frozen": "given, frozen"}
