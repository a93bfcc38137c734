"""The variants that are scored side by side: an encoder and the clips it is shown."""

from mscl.stage.view import Stages

VARIANT_NAMES = {
    "trained": "trained",
    "untrained": "untrained",
    "trained_frozen": "trained, frozen",
    "untrained_frozen": "untrained, frozen",
}
"""Variant -> how tables and pictures call it, in their order; frozen: on clips that repeat one frame."""
_LONGEST_NAME = 20


def variant_names(stages: Stages) -> dict[str, str]:
    """`VARIANT_NAMES` for one lineage: an encoder that was given is called so, since it was not trained here."""
    given = str(stages["pretrain"].metrics.get("given", "")) if "pretrain" in stages else ""
    if not given:
        return dict(VARIANT_NAMES)
    name = given if len(given) <= _LONGEST_NAME else f"{given[: _LONGEST_NAME - 1]}…"
    return {**VARIANT_NAMES, "trained": f"given: {name}", "trained_frozen": "given, frozen"}
