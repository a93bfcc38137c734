"""An indexed set: the features that the embed stage wrote, with what another video must go through to be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscl.embedding.config import EmbedConfig
from mscl.errors import CheckpointError, UserError
from mscl.extract.config import FlowConfig
from mscl.stage.skipped import Skipped
from mscl.video.config import ClipConfig

if TYPE_CHECKING:
    from mscl.embedding.neighbours import Found
    from mscl.embedding.video_features import Embedded
    from mscl.video.file_clips import Clips
    from storage.features import Features
    from storage.manifest import Manifest
    from storage.workspace import Result, Workspace

VARIANT = "trained"


@dataclass(frozen=True)
class Neighbours:
    """What was found for each query that could be read."""

    queries: "Embedded"
    found: list[list["Found"]]
    """Per video of `queries.videos`, the nearest first."""


@dataclass(frozen=True)
class Index:
    """Features of a dataset's segments, and the results of the stages behind them."""

    embed: "Result"
    ingest: "Result"
    extract: "Result"
    pretrain: "Result"
    features: "Features"
    manifest: "Manifest"
    """Usable rows; row i is row i of the features."""

    @property
    def root(self) -> Path:
        """Folder of the dataset's videos."""
        return Path(str(self.ingest.record.config["data"]["root"]))

    def path(self, row: int) -> Path:
        """Video file of a row."""
        return self.root / str(self.manifest.row(row).video)

    def clip_of(self, video: Path) -> "Clips":
        """The middle clip (T, H, H, 3) of a video file, cut as this set's were; for pictures.

        Raises:
            VideoError: the file does not decode.
        """
        from mscl.video.file_clips import file_clips

        config, clip = self._config(), self._clip()
        clips = file_clips(
            video, clips=1, length=clip.length, stride=clip.stride, crop_px=config.crop_px, **self._frames()
        )
        middle: Clips = clips[0]
        return middle

    def search(self, videos: Sequence[Path], *, k: int, device: str = "cpu") -> Neighbours:
        """The k nearest segments of each video file, embedded as this set was.

        Raises:
            CheckpointError: the encoder gives features of another size than the set holds.
        """
        from mscl.embedding.neighbours import search
        from mscl.embedding.video_features import embed
        from mscl.models.files import load_encoder

        checkpoint = self.pretrain.folder / str(self.pretrain.record.metrics["checkpoint"])
        encoder = load_encoder(checkpoint)
        if encoder.feature_dim != self.features.features_ND.shape[1]:
            raise CheckpointError(
                f"the encoder {checkpoint} gives {encoder.feature_dim} features, the index {self.embed.folder} holds "
                f"{self.features.features_ND.shape[1]}: another encoder made it; run the embed stage again"
            )
        config = self._config()
        queries = embed(
            videos, encoder.to(device), clips=config.clips, clip=self._clip(), crop_px=config.crop_px,
            crops=config.crops, **self._frames(),
        )  # fmt: skip
        found = search(queries.features_ND, self.features, k=k) if queries.videos else []
        return Neighbours(queries, found)

    def _config(self) -> EmbedConfig:
        return EmbedConfig.model_validate(self.embed.record.config["embed"])

    def _clip(self) -> ClipConfig:
        return ClipConfig.model_validate(self.embed.record.config["clip"])

    def _frames(self) -> dict[str, Any]:
        """How the frames of this set's store came out of its videos, as arguments of `embed` and `file_clips`."""
        flow = FlowConfig.model_validate(self.extract.record.config["flow"])
        return {
            "gap_frames": flow.gap_frames, "span_frames": flow.span_frames, "stored_px": flow.store_short_side,
            "computed_px": flow.compute_short_side, "jpeg_quality": flow.jpeg_quality,
        }  # fmt: skip


def open_index(workspace: "Workspace", key: str = "") -> Index:
    """The set that the embed stage indexed last, or the one of a key: of its own result, or of one made from it.

    Raises:
        UserError: there is none.
        StorageError: no result with that key, or features that cannot be read.
    """
    from storage.features import read_features
    from storage.layout import Ingested

    embed = latest_of(workspace, "embed", key)
    stages = {result.record.stage: result for result in workspace.lineage(embed)}
    if missing := [name for name in ("ingest", "extract", "pretrain") if name not in stages]:
        raise UserError(
            f"the {' and '.join(missing)} result behind {embed.folder} is gone, and a search needs it; run the "
            "pipeline again"
        )
    features = read_features(embed.folder / f"{VARIANT}.zarr")
    if len(features.ids) == 0:
        raise UserError(f"the index {embed.folder} holds no video; embed a dataset with usable videos")
    manifest = Ingested(stages["ingest"].folder).manifest().ok()
    if [str(name) for name in manifest.column("segment_id")] != features.ids:
        raise UserError(
            f"the features in {embed.folder} are of {len(features.ids)} other segments than the {len(manifest)} of "
            "the manifest; run the embed stage again"
        )
    return Index(embed, stages["ingest"], stages["extract"], stages["pretrain"], features, manifest)


def latest_of(workspace: "Workspace", stage: str, key: str = "") -> "Result":
    """The result of a stage that was made or used last and was not skipped, or the one in the lineage of `key`.

    Raises:
        UserError: there is none, or the one of the key was skipped.
        StorageError: no result with that key.
    """
    if key:
        named = workspace.by_key(key)
        found = [result for result in workspace.lineage(named) if result.record.stage == stage]
        if not found:
            raise UserError(
                f"{named.record.stage} {named.key} was not made from a result of {stage}; give the key of one: "
                f"{_listed(workspace, stage)}"
            )
        if skipped := Skipped.read(found[0].record.metrics):
            raise UserError(f"{stage} {found[0].key} was skipped: {skipped.reason}; run it again without that")
        return found[0]
    results = workspace.results(stage)
    usable = [result for result in results if Skipped.read(result.record.metrics) is None]
    if usable:
        return usable[-1]
    last = Skipped.read(results[-1].record.metrics) if results else None
    there = f": it was skipped there ({last.reason})" if last else ""
    raise UserError(
        f"there is no finished result of {stage} in {workspace.root}{there}; run that first (`mscl run`, or "
        f"`mscl stage {stage}`), or name another workspace with --workspace"
    )


def _listed(workspace: "Workspace", stage: str) -> str:
    return ", ".join(result.key for result in workspace.results(stage)[-5:]) or "there is none in this workspace"
