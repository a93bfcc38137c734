"""What an export says about itself: what it was made of, how it is laid out, in what units."""

from typing import Any

from mscl.clips.screened import ScreenedClips

_SHARDS = """\
`clips-NNNNNN.tar`: {clips:,} clips, at most {clips_per_shard:,} a shard, in an order that was drawn once. A sample is
one clip of {length} frames, {step} apart; its key is the number of its segment and its first
source frame.

| file | what is in it | as WebDataset decodes it |
|---|---|---|
| `KEY.frame00.jpg` to `KEY.frame{last:02d}.jpg` | frames, JPEGs as stored | `decode("rgb8")`: (H, W, 3) uint8 |
| `KEY.flow.npz` | `flow`, (2, {length}, H, W) float32 px; field i begins at frame i | dict |
| `KEY.cls` | label, a place in `classes` of `export.json`; none where unlabelled | int |
| `KEY.json` | class, split, video, times, motion scores | dict |

```python
import webdataset

for sample in webdataset.WebDataset("clips-000000.tar", shardshuffle=False).shuffle(100).decode("rgb8"):
    frame, flow, label = sample["frame00.jpg"], sample["flow.npz"]["flow"], sample.get("cls")
```
"""
_PICTURES = """\
`segments/VIDEO/FIRST/flow/NNNNNN.{form}` and `segments/VIDEO/FIRST/frames/NNNNNN.{frames}`: {segments:,} segments.
VIDEO is the path of the video below the data root, FIRST the first source frame of the segment, NNNNNN the source
frame of the picture, from which the flow of that number goes to frame NNNNNN + {span}. `index.csv` has a row for each
segment.

{how}
"""
_HOW = {
    "flo": "Flow is in Middlebury's form: 202021.25 as float32, width and height as int32, then u and v of each pixel\n"
    "in turn as float32, all little-endian. Frames are the JPEGs as stored.",
    "png": "Flow is in KITTI's form, 16 bits each: red 64 u + 32768, green 64 v + 32768, blue 1 where the vector is\n"
    "known. 512 px or more do not fit and are written as unknown. Frames are the stored JPEGs, decoded.",
}
_ARRAYS = """\
`segments/VIDEO/FIRST.npz`: {segments:,} segments. VIDEO is the path of the video below the data root, FIRST the first
source frame of the segment. `index.csv` has a row for each segment. `numpy.load` gives

| array | |
|---|---|
| `frames` | (3, N, H, W) uint8 RGB |
| `flow` | (2, N, H, W) float32 px; field i begins at frame i |
| `frame_numbers` | (N,) source frames |
| `differences`, `magnitude_mean`, `magnitude_p99`, `moving_share`, `camera_mean`, `object_mean` | (N,) of each field |
"""
_ALL = """\
# Frames and flow ({form})
{layout}
## Units
Flow is u to the right and v down, in px of the stored frames, over {spans}; times the video's width by
the stored one it is in px of the video. A field begins every {gaps}, and beside each there is a frame.
Source frames are counted from 0, as they are decoded. Motion scores are those of `mscl motion scores`, in px of the
stored frames.

## Made of
Flow by {method}, computed at short side {computed_px} px, frames and flow stored at {stored_px} px (never above the
video's own), JPEG quality {quality}; {which}. `export.json` has all settings and the names of the classes.

| stage | key of the result |
|---|---|
{made_of}
"""


def readme(form: str, stores: ScreenedClips, plan: dict[str, Any]) -> str:
    """README.md of an export with this plan."""
    flow, clip = stores.flow_config, stores.clip
    layout = {"webdataset": _SHARDS, "npz": _ARRAYS}.get(form, _PICTURES)
    which = f"split {plan['split']}" if plan["split"] else "all splits"
    which += f" of official split {plan['official_split']}" if "official_split" in plan else ""
    values = {
        **plan, "spans": _frames(flow.span_frames), "span": flow.span_frames, "gaps": _frames(flow.gap_frames),
        "length": clip.length, "last": clip.length - 1, "step": _frames(clip.stride * flow.gap_frames),
        "frames": "png" if form == "png" else "jpg", "how": _HOW.get(form, ""), "method": flow.method,
        "computed_px": flow.compute_short_side, "stored_px": flow.store_short_side, "quality": flow.jpeg_quality,
        "which": f"{which}; starts: {plan['starts']}" if "starts" in plan else which,
        "made_of": "\n".join(f"| {stage} | {key} |" for stage, key in plan["results"].items()),
    }  # fmt: skip
    return _ALL.format(**values, layout=layout.format(**values))


def _frames(count: int) -> str:
    return f"{count} source frame{'s' * (count != 1)}"
