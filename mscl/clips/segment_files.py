"""Segments as files that other tools read: .flo or KITTI's PNG beside each frame, or one .npz a segment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.flow_files import KITTI_LIMIT_PX, flo_file, kitti_png, png
from mscl.clips.npz import npz_file
from mscl.clips.screened import ScreenedClips, rows_of_split
from mscl.errors import DataError
from mscl.motion.scores import score_table
from mscl.progress import Progress
from storage.atomic import disk_errors, publish, staged_path, write_atomic

FileForm = Literal["flo", "png", "npz"]
_AT_ONCE = 32
"""Fields in memory at a time."""


class SegmentFiles:
    """Files of some segments; the number in a name is that of a source frame, at which the field begins, too."""

    noun = "segments"

    def __init__(self, stores: ScreenedClips, form: FileForm, *, split: str, progress: Progress) -> None:
        self._manifest = stores.manifest()
        self._flow, self._frames, self._motion = stores.flow(), stores.frames(), stores.motion_store()
        self._gap_frames = stores.flow_config.gap_frames
        self._first_frames = self._manifest.column("first_frame")
        self._form = form
        self._progress = progress
        rows = rows_of_split(self._manifest, split)
        self._rows = rows[self._flow.num_fields[rows] > 0]
        if not len(self._rows):
            raise DataError(f"no segment of {split or 'the dataset'} has a flow field: there is nothing to write")
        self._names = [self._name(segment) for segment in self._rows.tolist()]

    def __len__(self) -> int:
        return len(self._rows)

    def plan(self) -> dict[str, Any]:
        """What decides the files."""
        return {"segments": len(self)}

    def name(self, part: int) -> str:
        """Folder, or .npz file, of a segment."""
        return self._names[part]

    def size(self, part: int) -> int:
        """A part is a segment."""
        return 1

    def write(self, part: int, path: Path) -> None:
        """Write the files of a segment so that they are all there or none."""
        segment = int(self._rows[part])
        numbers_N = int(self._first_frames[segment]) + self._gap_frames * np.arange(self._flow.valid(segment)[0])
        if self._form == "npz":
            write_atomic(path, self._arrays(segment, numbers_N))
            return
        staged = staged_path(path)
        try:
            with disk_errors(path):
                self._write_pictures(segment, numbers_N, staged)
                publish(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def finish(self, folder: Path) -> None:
        """`index.csv`: a row a segment."""
        import pyarrow as pa
        import pyarrow.csv

        names = ("segment_id", "video", "split", "label", "class_name", "first_frame", "num_frames", "fps")
        columns: dict[str, Any] = {"path": np.array(self._names, dtype=object)}
        columns |= {name: self._manifest.column(name)[self._rows] for name in names}
        sizes = np.array([self._flow.valid(segment) for segment in self._rows.tolist()])
        columns |= dict(zip(("num_fields", "stored_height", "stored_width"), sizes.T, strict=True))
        columns |= {name: scores[self._rows] for name, scores in score_table(self._motion).items()}
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), sink)
        write_atomic(folder / "index.csv", sink.getvalue().to_pybytes())

    def _name(self, segment: int) -> str:
        """Raises DataError where the name of its video leads elsewhere."""
        video = PurePosixPath(str(self._manifest.column("video")[segment]))
        if video.is_absolute() or ".." in video.parts:
            raise DataError(f"segment row {segment} is of {video}, outside of the data root; ingest again")
        ending = ".npz" if self._form == "npz" else ""
        return f"segments/{video}/{self._first_frames[segment]:06d}{ending}"

    def _write_pictures(self, segment: int, numbers_N: NDArray[np.int64], folder: Path) -> None:
        of_flow: Callable[[NDArray[np.float32]], bytes] = flo_file if self._form == "flo" else kitti_png
        (folder / "flow").mkdir(parents=True)
        (folder / "frames").mkdir()
        outside = 0
        for begin in range(0, len(numbers_N), _AT_ONCE):
            indices = list(range(begin, min(begin + _AT_ONCE, len(numbers_N))))
            for index, flow_HW2 in zip(indices, self._flow.clip(segment, indices), strict=True):
                name = f"{numbers_N[index]:06d}"
                (folder / "flow" / f"{name}.{self._form}").write_bytes(of_flow(flow_HW2))
                outside += int((np.abs(flow_HW2).max(axis=-1) >= KITTI_LIMIT_PX).sum())
                if self._form == "png":
                    picture = cv2.cvtColor(self._frames.clip(segment, [index])[0], cv2.COLOR_RGB2BGR)
                    (folder / "frames" / f"{name}.png").write_bytes(png(np.asarray(picture, np.uint8)))
                else:
                    (folder / "frames" / f"{name}.jpg").write_bytes(self._frames.jpeg(segment, index))
        if outside and self._form == "png":
            video = self._manifest.column("video")[segment]
            self._progress.say(f"{video}: {outside} vectors of {KITTI_LIMIT_PX} px and more are written as unknown")

    def _arrays(self, segment: int, numbers_N: NDArray[np.int64]) -> bytes:
        indices = list(range(len(numbers_N)))
        motion = self._motion
        return npz_file({
            "frames": self._frames.clip(segment, indices).transpose(3, 0, 1, 2),
            "flow": self._flow.clip(segment, indices).transpose(3, 0, 1, 2),
            "frame_numbers": numbers_N,
            "differences": motion.differences(segment),
            "magnitude_mean": motion.magnitude_mean(segment),
            "magnitude_p99": motion.magnitude_p99(segment),
            "moving_share": motion.moving_share(segment),
            "camera_mean": motion.camera_mean(segment),
            "object_mean": motion.object_mean(segment),
        })  # fmt: skip
