"""Where the videos are and how they are labelled."""

import re
from typing import Literal

from pydantic import Field, model_validator

from mscl.addresses import check_addresses
from mscl.config.base import Fraction, Section
from mscl.video.config import DecodeLimits

AnnotationFormat = Literal[
    "auto", "folders", "ucf101", "hmdb51", "kinetics", "ssv2", "diving48", "jester", "list", "unlabelled"
]


class DataConfig(Section):
    """The dataset: read by the ingest stage."""

    root: str = ""
    """Folder that holds the videos; paths in annotations are relative to it and may not leave it. Or where they are in
    object storage: `s3://bucket/folder`, gs://, az://, `https://host/videos.txt` (docs/data.md)."""
    annotations: str = ""
    """File or folder with the dataset's lists, here or in object storage; empty: looked for in and beside `root`."""
    format: AnnotationFormat = "auto"
    """Form of the annotations; `auto` recognises them by their file names, else class folders."""
    split: int = Field(default=1, ge=1, le=3)
    """Official split of UCF101 and HMDB51: for pre-training, and for scores that are not told others."""
    classes: tuple[str, ...] = ()
    """Keep these classes only; empty: all."""
    test_pattern: str = ""
    """Class folders: videos whose relative path matches this regular expression are the test split."""
    test_fraction: Fraction = 0.25
    """Class folders without `test_pattern` and without train/test folders: this share of every class
    is the test split, chosen by a digest of the relative path, so that it never changes."""
    group_pattern: str = ""
    """Regular expression on the relative path: what its brackets match, else all of the match, names the group of a
    video (a person, a recording). Videos of one group count together in intervals and folds. Empty: `group_list`, else
    what the names of UCF101 and HMDB51 are known to say, else every video by itself; the scores say which."""
    group_list: str = ""
    """CSV file that names the group of each video, in its column `group_column` beside `video`."""
    group_column: str = "group"
    """Column of `group_list`."""
    max_segment_seconds: float = Field(default=10.0, gt=0)
    """Longer videos become several segments."""
    cuts: Literal["split", "ignore"] = "split"
    """Where another shot begins: `split` begins another segment there, so that none holds two shots; `ignore` lets
    segments cross it, and no clip is chosen for training that does."""
    max_bad_fraction: Fraction = 0.5
    """More bad videos than this stop the run before the expensive stages."""
    partial: Literal["keep", "drop"] = "keep"
    """A video that decodes only partly: keep what decodes, or drop the video. Said in the manifest."""
    test_twins: Literal["keep", "drop"] = "keep"
    """Test videos of lists that have the bytes of a train video: keep them, as published scores do, or drop them."""
    limits: DecodeLimits = DecodeLimits()

    @model_validator(mode="after")
    def _addresses_without_credentials(self) -> "DataConfig":
        """Of the whole section: what a field refuses is shown, and this must not be."""
        for name in ("root", "annotations", "group_list"):
            check_addresses(getattr(self, name), setting=f"data.{name}")
        return self

    @model_validator(mode="after")
    def _one_grouping(self) -> "DataConfig":
        if self.group_pattern and self.group_list:
            raise ValueError(
                f"group_pattern {self.group_pattern!r} and group_list {self.group_list!r} exclude each other"
            )
        try:
            re.compile(self.group_pattern)
        except re.error as error:
            raise ValueError(f"group_pattern {self.group_pattern!r} is no regular expression: {error}") from error
        return self
