"""Motion Sensitive Contrastive Learning (ECCV 2022): from videos to a motion-sensitive encoder.

The public names of `mscl.api` are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mscl.name_clash import check_kernels

if TYPE_CHECKING:
    from mscl.api import (
        Contract,
        Embedded,
        FrameRecipe,
        Index,
        Neighbour,
        Workspace,
        embed,
        load_encoder,
        open_clips,
        open_index,
        search,
    )

__all__ = [
    "Contract", "Embedded", "FrameRecipe", "Index", "Neighbour", "Workspace", "embed", "load_encoder",
    "open_clips", "open_index", "search",
]  # fmt: skip


check_kernels()


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("mscl.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
