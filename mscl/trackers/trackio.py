"""trackio: kept where TRACKIO_DIR says, for `trackio show`, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL sends it."""

from collections.abc import Mapping
from pathlib import Path

import trackio

from mscl.trackers.tracker import PROJECT, Ending, TrackedRun


class Trackio:
    """A run of trackio: its group is the encoder."""

    def __init__(self, run: TrackedRun) -> None:
        # Its runs are known by their names.
        self._run = trackio.init(
            project=PROJECT, name=f"{run.name} {run.id}", group=run.encoder or None, resume="allow", embed=False,
            config={**run.flat_settings(), **{f"lineage.{stage}": key for stage, key in run.lineage.items()}},
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def add_page(self, path: Path) -> None:
        self._run.log({path.stem: trackio.Html(str(path))})

    def finish(self, ending: Ending) -> None:
        self._run.finish()
