"""Motion Sensitive Contrastive Learning (ECCV 2022): from videos to a motion-sensitive encoder.

`load_encoder`, `embed`, `search`, `open_index` and `Workspace` are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscl.api import Embedded, Found, embed, load_encoder, search
    from mscl.evaluation.index import Index, open_index
    from storage.workspace import Workspace

__all__ = ["Embedded", "Found", "Index", "Workspace", "embed", "load_encoder", "open_index", "search"]
_ELSEWHERE = {"Workspace": "storage.workspace", "Index": "mscl.evaluation.index", "open_index": "mscl.evaluation.index"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "mscl.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
