"""From segments to videos: a long video that became several segments counts once."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mscl.array_types import Ints
from mscl.video.clip_indices import Shown

if TYPE_CHECKING:
    from storage.manifest import Manifest

Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Videos:
    """The V videos of S usable segments, in the order of their first segments."""

    names: tuple[str, ...]
    video_S: Ints
    """Video of each segment."""
    counts_S: npt.NDArray[np.bool_]
    """Whether a segment counts for its video; one of each does."""
    first_V: Ints
    """First segment of each video: a row of the usable manifest."""
    labels_V: Ints
    """-1: unlabelled."""
    split_V: npt.NDArray[np.str_]

    @classmethod
    def of(cls, manifest: "Manifest") -> "Videos":
        """Videos of the usable rows of a manifest."""
        names, first, video = np.unique(manifest.column("video").astype(str), return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        first_V = first[order].astype(np.int64)
        return cls(
            names=tuple(str(name) for name in names[order]),
            video_S=place[video.ravel()].astype(np.int64),
            counts_S=np.ones(len(video.ravel()), dtype=np.bool_),
            first_V=first_V,
            labels_V=np.asarray(manifest.column("label"), dtype=np.int64)[first_V],
            split_V=manifest.column("split").astype(str)[first_V],
        )

    def __len__(self) -> int:
        return len(self.names)

    def as_shown(self, shown: Shown) -> "Videos":
        """The same videos as a control shows them: of one that repeats a frame, the segment with that frame alone.

        Each segment was embedded by a frame of its own; several of them tell how what is seen went on, which is motion.
        The middle frame is that of the middle segment.
        """
        place = {"first": 0.0, "middle": 0.5, "last": 1.0}.get(shown)
        if place is None:
            return self
        counts_S = np.zeros(len(self.video_S), dtype=np.bool_)
        counts_S[[rows[min(int(place * len(rows)), len(rows) - 1)] for rows in self.segments_of_each()]] = True
        return replace(self, counts_S=counts_S)

    def mean(self, values_SX: npt.NDArray[Real]) -> npt.NDArray[Real]:
        """(V, X): the mean over the segments of each video that count."""
        return mean_by(self.video_S[self.counts_S], values_SX[self.counts_S], len(self))

    def segments_of_each(self) -> list[Ints]:
        """Segments of each video that count, in their order."""
        rows = np.flatnonzero(self.counts_S)
        video = self.video_S[rows]
        return np.split(rows[np.argsort(video, kind="stable")], np.cumsum(np.bincount(video, minlength=len(self)))[:-1])

    def segments(self, videos: Ints) -> Ints:
        """Segments of some videos that count, ascending."""
        return np.flatnonzero(self.counts_S & np.isin(self.video_S, videos))


def mean_by(group_S: Ints, values_SX: npt.NDArray[Real], groups: int) -> npt.NDArray[Real]:
    """(G, X): the mean of the rows of each group, summed in float64; every group has a row."""
    sums = np.zeros((groups, values_SX.shape[1]))
    np.add.at(sums, group_S, values_SX)
    means: npt.NDArray[Any] = sums / np.bincount(group_S, minlength=groups)[:, None]
    return means.astype(values_SX.dtype)
