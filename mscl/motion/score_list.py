"""Motion scores beside what they are of, as one table: filtered, and written for other tools."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mscl.errors import UserError
from mscl.motion.scores import NAMES, score_table
from mscl.stage.latest import made_of
from storage.atomic import write_atomic
from storage.layout import Ingested, Measured
from storage.motion_store import MotionReader
from storage.splits import asked_split, which_split
from storage.verify import refuse_changed

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.result_folder import Result
    from storage.workspace import Workspace

_OF_TODAY = 3
"""Version of stage motion since which large objects do not bend the camera's motion."""


def score_list(
    workspace: Workspace, key: str, *, by: str, official_split: int | None = None
) -> tuple[pa.Table, str, str]:
    """A row a segment or a video with its scores, the key of the result of motion that they are from, and a note.

    Args:
        key: of a result of motion, or its first digits; empty: the latest.
        by: `segment` or `video`, whose `peak_px` is the largest of its segments, and all else their mean by frames.
        official_split: number of the split, of a dataset that has several; None: the first, which is said in the note.

    Raises:
        UserError: there is no such result, or an earlier version made it.
        StorageError: the dataset has no official split of that number, or a file is not as it was written.
    """
    import pyarrow as pa

    result = _motion(workspace, key)
    ingest = made_of(workspace, result, "ingest")["ingest"]
    refuse_changed(result, ingest)
    whole = Ingested(ingest.folder).manifest() if official_split is None else asked_split(ingest, official_split)
    manifest = whole.ok()
    columns: dict[str, Any] = {
        name: manifest.column(name) for name in ("segment_id", "video", "split", "label", "first_frame", "num_frames")
    }
    columns["class"] = manifest.column("class_name").astype(str)
    scores = score_table(MotionReader(Measured(result.folder).motion))
    table = pa.table({name: pa.array(values) for name, values in (columns | scores).items()})
    table = table.filter(np.isfinite(scores[NAMES[0]]))  # of a segment without fields nothing is known
    note = which_split(ingest.folder, official_split)
    return (_by_video(table) if by == "video" else table), result.key, note


def _motion(workspace: Workspace, key: str) -> Result:
    result = workspace.by_key(key) if key else workspace.latest("motion")
    if result is None:
        raise UserError(f"no finished result of motion in {workspace.root}; `mscl run PRESET --until motion` makes one")
    if result.record.stage != "motion":
        raise UserError(f"{result.record.stage} {result.key} is no result of motion; `mscl ls` lists them")
    if result.record.version < _OF_TODAY:
        raise UserError(f"motion {result.key} was made by an earlier version; `mscl run PRESET --until motion` again")
    return result


def _by_video(table: pa.Table) -> pa.Table:
    """A row a video; each segment counts by its frames, as if the video had not been cut."""
    import pyarrow as pa

    videos = np.asarray(table.column("video").to_pylist(), dtype=str)
    _, first_V, video_S = np.unique(videos, return_index=True, return_inverse=True)
    frames_S = table.column("num_frames").to_numpy().astype(np.float64)
    frames_V = np.bincount(video_S, frames_S)
    found = table.take(first_V).select(["video", "split", "label", "class"])
    found = found.append_column("num_frames", pa.array(frames_V.astype(np.int64)))
    for name in NAMES:
        score_S = table.column(name).to_numpy()
        if name == "peak_px":
            score_V = np.full(len(first_V), -np.inf)
            np.maximum.at(score_V, video_S, score_S)
        else:
            score_V = np.bincount(video_S, score_S * frames_S) / frames_V
        found = found.append_column(name, pa.array(score_V))
    return found


def filtered(table: pa.Table, *, at_least: Sequence[str], at_most: Sequence[str], classes: Sequence[str]) -> pa.Table:
    """The rows that meet all bounds (`SCORE=VALUE`) and are of one of the classes, where some are given.

    Raises:
        UserError: no such score or class, no number, or nothing is left: names the bound that left nothing.
    """
    if classes:
        of_row = np.asarray(table.column("class").to_pylist(), dtype=str)
        there = np.unique(of_row).tolist()
        for name in classes:
            if name not in there:
                near = get_close_matches(name, there, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                known = f"classes are {', '.join(there[:10])}" if any(there) else "no video has a class"
                raise UserError(f"--class {name}: {hint}{known}")
        table = table.filter(np.isin(of_row, classes))
    for option, bounds, meets in (("--min", at_least, operator.ge), ("--max", at_most, operator.le)):
        for bound in bounds:
            table = _bounded(table, option, bound, meets)
    return table


def _bounded(table: pa.Table, option: str, bound: str, meets: Callable[[Any, float], Any]) -> pa.Table:
    name, _, text = bound.partition("=")
    if name not in NAMES:
        raise UserError(f"{option} {bound}: give SCORE=VALUE; scores: {', '.join(NAMES)}")
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{option} {bound}: {text!r} is no number") from error
    values = table.column(name).to_numpy()
    kept = table.filter(meets(values, value))
    if table.num_rows and not kept.num_rows:
        there = f"{values.min():.3g} to {values.max():.3g}"
        raise UserError(f"{option} {bound} leaves none of {table.num_rows:,}: their {name} is {there}")
    return kept


def write_list(path: Path, table: pa.Table) -> None:
    """Write Parquet, CSV, or a list of `path label` lines, one a video, as `data.annotations` and other tools read it.

    Raises:
        UserError: another ending, or a path that such a line cannot hold.
        StorageError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    match path.suffix:
        case ".parquet":
            pyarrow.parquet.write_table(table, sink)
        case ".csv":
            pyarrow.csv.write_csv(table, sink)
        case ".txt":
            sink.write(_lines(table).encode())
        case _:
            raise UserError(f"--out {path}: the ending says the form; give .parquet, .csv or .txt")
    write_atomic(path, sink.getvalue().to_pybytes())


def _lines(table: pa.Table) -> str:
    names = (map(str, table.column(name).to_pylist()) for name in ("video", "class"))
    videos = dict(zip(*names, strict=True))
    for video, name in videos.items():
        if any(char.isspace() for char in video + name):
            raise UserError(
                f"{video!r} of class {name!r} has a blank, which a line `path label` cannot hold; write .csv"
            )
    return "".join(f"{video} {name}".rstrip() + "\n" for video, name in videos.items())
