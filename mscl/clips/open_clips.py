"""The public function that opens a screened dataset as clips; PyTorch is not imported before it is called."""

from __future__ import annotations

from operator import index
from os import PathLike
from typing import TYPE_CHECKING, SupportsIndex

from mscl.clips.screened import Starts, rows_of_split, screened_clips
from mscl.errors import UserError
from mscl.video.config import ClipConfig

if TYPE_CHECKING:
    from mscl.clips.dataset import StoredClips
    from storage.workspace import Workspace


def open_clips(
    workspace: Workspace | str | PathLike[str],
    key: str = "",
    *,
    split: str = "",
    official_split: int | None = None,
    starts: Starts = "chosen",
    length: int | None = None,
    stride: int | None = None,
    side_px: int | None = None,
    normalise: bool = False,
    flow: bool = True,
) -> StoredClips:
    """Clips of a screened dataset, one item for each start of a clip.

    Args:
        workspace: or its folder.
        key: of a result of screen, or of one made from it; without it the latest.
        split: train, val or test; all without it.
        official_split: number of the split, of a dataset that has several; None: that of the manifest.
        starts: `chosen` by motion differential sampling, or `all` from which a whole clip fits.
        length: frames of a clip; None, as of `stride`: what the screen was run with.
        stride: indices from one frame to the next, in units of the store's `gap_frames`.
        side_px: the centre square of frames and fields, resized to this side, vectors scaled with it. None: all of the
            stored frame; then videos of different sizes do not go into one batch.
        normalise: frames as float32 with ImageNet's mean and deviation, as our encoders read them.
        flow: False leaves the fields unread.

    Raises:
        UserError: no such result or split, settings that do not fit, or no clip is left.
        StorageError: files that are missing or not as they were written.
    """
    for name, value in (("length", length), ("stride", stride), ("side_px", side_px)):
        if value is not None and (not isinstance(value, SupportsIndex) or index(value) < 1):
            raise UserError(f"{name} {value!r}: give a whole number, 1 or more")
    from mscl.clips.dataset import StoredClips
    from storage.workspace import as_workspace

    stores = screened_clips(as_workspace(workspace), key)
    clip = ClipConfig(length=length or stores.clip.length, stride=stride or stores.clip.stride)
    manifest = stores.manifest(official_split)
    segments_N, starts_N = stores.starts(rows_of_split(manifest, split), starts, clip)
    return StoredClips(
        stores, manifest, segments_N=segments_N, starts_N=starts_N, clip=clip, side_px=side_px, normalise=normalise,
        flow=flow,
    )  # fmt: skip
