"""Where things lie in the results of the stages whose files others read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.manifest import Manifest

COMMITS_NAME = "commits.jsonl"
FLOW_NAME = "flow.zarr"
FRAMES_NAME = "frames"


@dataclass(frozen=True)
class Ingested:
    """The result of ingest in `folder`."""

    folder: Path

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.parquet"

    @property
    def splits_path(self) -> Path:
        """Official splits; there is no such file where the dataset has but one."""
        return self.folder / "splits.parquet"

    def manifest(self) -> "Manifest":
        """All rows; DamagedError where the file is missing or damaged."""
        from storage.manifest import read_manifest

        return read_manifest(self.manifest_path)


@dataclass(frozen=True)
class Extracted:
    """The result of extraction in `folder`."""

    folder: Path

    @property
    def flow(self) -> Path:
        """The flow store."""
        return self.folder / FLOW_NAME

    @property
    def frames(self) -> Path:
        """The frame store."""
        return self.folder / FRAMES_NAME

    @property
    def commits(self) -> Path:
        """The log of committed shards."""
        return self.folder / COMMITS_NAME


@dataclass(frozen=True)
class Measured:
    """The result of motion in `folder`."""

    folder: Path

    @property
    def motion(self) -> Path:
        """The motion store."""
        return self.folder / "motion.zarr"

    @property
    def commits(self) -> Path:
        """The log of committed shards."""
        return self.folder / COMMITS_NAME


@dataclass(frozen=True)
class Screened:
    """The result of screening in `folder`."""

    folder: Path

    @property
    def table(self) -> Path:
        """Chosen clip starts of every segment, or why it has none."""
        return self.folder / "screen.parquet"
