"""The variants that are scored side by side: an encoder and what it is shown of the clips."""

from collections.abc import Iterable

from mscl.stage.view import Stages
from mscl.video.clip_indices import Shown

VARIANTS: dict[str, tuple[str, Shown]] = {
    "trained": ("trained", "moving"),
    "untrained": ("untrained", "moving"),
    "trained_first": ("trained", "first"),
    "trained_middle": ("trained", "middle"),
    "trained_last": ("trained", "last"),
    "trained_shuffled": ("trained", "shuffled"),
}
"""Variant -> which encoder, and what it is shown; in the order of tables and pictures."""
SHOWN_NAMES: dict[Shown, str] = {
    "moving": "", "first": "first frame", "middle": "middle frame", "last": "last frame", "shuffled": "shuffled"
}  # fmt: skip
"""How tables and pictures call a control."""
CONTROLS_NOTE = (
    "First, middle, last frame: clips that repeat that one frame of the video; what is scored there is appearance, a "
    "place or a pose, and not motion. Shuffled: the frames of each clip in random order, which still show that "
    "something moves and along which line, and not which way or what came first"
)
VARIANT_NAMES = {
    name: f"{encoder}, {SHOWN_NAMES[shown]}" if SHOWN_NAMES[shown] else encoder
    for name, (encoder, shown) in VARIANTS.items()
}
"""Variant -> how tables and pictures call it, in their order."""
_LONGEST_NAME = 20


def in_order(variants: Iterable[str]) -> list[str]:
    """Variants in the order of `VARIANTS`, then those that it does not name."""
    found = list(variants)
    return [*(name for name in VARIANTS if name in found), *(name for name in found if name not in VARIANTS)]


def shown_of(variant: str) -> Shown:
    """What a variant is shown of the clips; of one that is not known, the clips."""
    return VARIANTS[variant][1] if variant in VARIANTS else "moving"


def has_controls(variants: Iterable[str]) -> bool:
    """Whether one of them is shown something else than moving clips."""
    return any(shown_of(name) != "moving" for name in variants)


def variant_names(stages: Stages) -> dict[str, str]:
    """`VARIANT_NAMES` for one lineage: an encoder that was given is called so, since it was not trained here."""
    given = str(stages["pretrain"].metrics.get("given", "")) if "pretrain" in stages else ""
    if not given:
        return dict(VARIANT_NAMES)
    short = given if len(given) <= _LONGEST_NAME else f"{given[: _LONGEST_NAME - 1]}…"
    renamed = {
        name: called.replace("trained", "given", 1)
        for name, called in VARIANT_NAMES.items()
        if VARIANTS[name][0] == "trained"
    }
    return {**VARIANT_NAMES, **renamed, "trained": f"given: {short}"}
