"""The results behind a screen's clips, and which starts of which segments are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mscl.array_types import Ints
from mscl.errors import DataError, UserError
from mscl.extract.config import FlowConfig
from mscl.stage.latest import latest_of, made_of
from mscl.video.config import ClipConfig
from storage.layout import Extracted, Measured, Screened

if TYPE_CHECKING:
    from storage.flow_store import FlowReader
    from storage.frame_store import FrameReader
    from storage.manifest import Manifest
    from storage.motion_store import MotionReader
    from storage.result_folder import Result
    from storage.screen_table import ScreenTable
    from storage.workspace import Workspace

Starts = Literal["chosen", "all"]
"""`chosen`: those that motion differential sampling chose. `all`: every start from which a whole clip fits, whatever
the screen says of the segment."""


@dataclass(frozen=True)
class ScreenedClips:
    """The results of ingest, extract, motion and screen that belong together."""

    ingest: Result
    extract: Result
    motion: Result
    screen: Result
    official_split: int | None = None
    """Which of several is meant where nothing else is said; None: that of the manifest."""

    @cached_property
    def flow_config(self) -> FlowConfig:
        """How the fields were computed."""
        return FlowConfig.model_validate(self.extract.record.config["flow"])

    @cached_property
    def clip(self) -> ClipConfig:
        """The clips that the screen scored."""
        return ClipConfig.model_validate(self.screen.record.config["clip"])

    @cached_property
    def table(self) -> ScreenTable:
        """What the screen decided."""
        from storage.screen_table import read_screen

        return read_screen(Screened(self.screen.folder).table)

    @property
    def results(self) -> tuple[Result, ...]:
        """All of them, in the order of the pipeline."""
        return self.ingest, self.extract, self.motion, self.screen

    def manifest(self, official_split: int | None = None) -> Manifest:
        """Usable rows; row i is segment i.

        Raises:
            StorageError: the dataset has no official split of that number.
        """
        from storage.layout import Ingested
        from storage.splits import asked_split

        number = self.official_split if official_split is None else official_split
        if number is None:
            return Ingested(self.ingest.folder).manifest().ok()
        return asked_split(self.ingest, number).ok()

    def flow(self) -> FlowReader:
        """A reader of the flow store."""
        from storage.flow_store import FlowReader

        return FlowReader(Extracted(self.extract.folder).flow)

    def frames(self) -> FrameReader:
        """A reader of the frame store."""
        from storage.frame_store import FrameReader

        return FrameReader(Extracted(self.extract.folder).frames)

    def motion_store(self) -> MotionReader:
        """A reader of the motion store; DamagedError where that is not as it was written."""
        from storage.motion_store import MotionReader
        from storage.verify import refuse_changed

        refuse_changed(self.motion)
        return MotionReader(Measured(self.motion.folder).motion)

    def starts(self, segments: Ints, which: Starts, clip: ClipConfig) -> tuple[Ints, Ints]:
        """(segments, starts) of the clips, (N,) each, in order.

        Raises:
            UserError: another word than `chosen` or `all`, or chosen starts of other clips than the screen scored.
            DataError: no clip is left.
        """
        if which not in get_args(Starts):
            raise UserError(f"starts {which!r}: give {' or '.join(get_args(Starts))}")
        num_fields = self.flow().num_fields
        if which == "chosen":
            if clip != self.clip:
                raise UserError(
                    f"screen {self.screen.key} chose starts of clips of {self.clip.length} with stride "
                    f"{self.clip.stride}, not of {clip.length} with stride {clip.stride}; take starts='all', or screen "
                    "again with these (clip.length, clip.stride)"
                )
            of_segment = [self.table.chosen(segment).astype(np.int64) for segment in segments.tolist()]
        else:
            of_segment = [np.arange(max(int(num_fields[s]) - clip.span + 1, 0)) for s in segments.tolist()]
        starts_N = np.concatenate([np.empty(0, np.int64), *of_segment])
        if not len(starts_N):
            raise DataError(
                f"none of {len(segments)} segments has a clip of {clip.length} with stride {clip.stride} "
                + (f"that screen {self.screen.key} chose" if which == "chosen" else f"({clip.span} fields)")
                + "; `mscl motion page` shows why segments were screened out, and starts='all' takes those, too"
                * (which == "chosen")
            )
        segments_N = np.repeat(segments, [len(found) for found in of_segment])
        if (starts_N >= num_fields[segments_N]).any():
            raise DataError(f"screen {self.screen.key} chose starts that the flow store does not have; screen again")
        return segments_N, starts_N

    def clip_scores(self, segments_N: Ints, starts_N: Ints, clip: ClipConfig) -> NDArray[np.float32]:
        """(N,) score of each clip in motion differential sampling; NaN for clips that the screen did not score.

        `segments_N` is in order, as `starts` gives it.
        """
        scores_N = np.full(len(starts_N), np.nan, np.float32)
        if clip != self.clip:
            return scores_N
        begins = np.flatnonzero(np.diff(segments_N, prepend=-1)).tolist()
        for begin, end in pairwise([*begins, len(segments_N)]):
            of_starts, places = self.table.scores(int(segments_N[begin])), starts_N[begin:end]
            scored = places < len(of_starts)
            scores_N[begin:end][scored] = of_starts[places[scored]]
        return scores_N


def screened_clips(workspace: Workspace, key: str = "") -> ScreenedClips:
    """The latest screen and what it was made of, or the one behind the result of a key.

    Raises:
        UserError: there is none, or what it was made of is gone or another by now.
        StorageError: no result with that key, or files that are not as they were written.
    """
    from storage.verify import refuse_changed

    screen = latest_of(workspace, "screen", key)
    found = made_of(workspace, screen, "ingest", "extract", "motion")
    refuse_changed(found["ingest"], screen)
    return ScreenedClips(found["ingest"], found["extract"], found["motion"], screen)


def rows_of_split(manifest: Manifest, split: str) -> Ints:
    """Rows of train, val or test; all rows without a name.

    Raises:
        UserError: no row is of that split; names those that there are.
    """
    if not split:
        return np.arange(len(manifest))
    of_row = manifest.column("split").astype(str)
    rows = np.flatnonzero(of_row == split)
    if not len(rows):
        there = ", ".join(sorted(set(of_row.tolist())))
        raise UserError(f"no segment is of split {split!r}; there are {there or 'no segments'}")
    return rows
