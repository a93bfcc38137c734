"""The trackers that `runtime.trackers` can name, and whether they are there."""

import pkgutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from mscl.errors import UserError, one_line
from mscl.trackers.tracker import TrackedRun, Tracker

TENSORBOARD = "tensorboard"
_OURS = {
    TENSORBOARD: "mscl.trackers.tensorboard:TensorBoard",
    "wandb": "mscl.trackers.wandb:WeightsAndBiases",
    "mlflow": "mscl.trackers.mlflow:MLflow",
    "trackio": "mscl.trackers.trackio:Trackio",
}


def tracker_named(name: str) -> Callable[[TrackedRun], Tracker]:
    """What opens a run at the tracker; imports its library.

    Raises:
        UserError: no such function.
    """
    try:
        make = pkgutil.resolve_name(_OURS.get(name, name))
    except Exception as error:  # whatever importing a stranger's code raises
        raise UserError(f"runtime.trackers: {name} cannot be imported: {one_line(error, named=True)}") from error
    if not callable(make):
        raise UserError(f"runtime.trackers: {name} is a {type(make).__name__}; it is to be a function")
    opens: Callable[[TrackedRun], Tracker] = make
    return opens


def refuse_missing(names: Sequence[str]) -> None:
    """Say before any work that a tracker is not there. Libraries are looked for and not imported.

    Raises:
        UserError: not installed, with what to install; or no such function of one's own.
    """
    for name in names:
        if name not in _OURS:
            tracker_named(name)
        elif name != TENSORBOARD and not _installed(name):
            raise UserError(f"runtime.trackers: {name} is not installed: pip install 'mscl-pipeline[{name}]'")


def _installed(library: str) -> bool:
    spec = find_spec(library)
    # Without a file it is a folder of that name in the current one, such as those that W&B itself leaves.
    return spec is not None and spec.origin is not None
