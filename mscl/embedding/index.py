"""An indexed set: the features that the embed stage wrote, with what another video must go through to be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mscl.devices import resolve_device
from mscl.embedding.config import EmbedConfig
from mscl.embedding.encoder_input import recorded_input
from mscl.errors import CheckpointError, UserError
from mscl.stage.config import RuntimeConfig
from mscl.stage.latest import latest_of, made_of
from mscl.video.frame_recipe import EncoderInput
from mscl.video.places import place_of

if TYPE_CHECKING:
    from mscl.embedding.neighbours import Neighbour
    from mscl.embedding.video_features import Embedded
    from mscl.models.outside_encoder import Encoder
    from mscl.video.file_clips import Clips
    from storage.features import Features
    from storage.manifest import Manifest
    from storage.result_folder import Result
    from storage.workspace import Workspace

VARIANT = "trained"


@dataclass(frozen=True)
class Neighbours:
    """What was found for each query that could be read."""

    queries: "Embedded"
    found: list[list["Neighbour"]]
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
    def root(self) -> str:
        """Folder of the dataset's videos, or where it is in object storage."""
        return str(self.ingest.record.config["data"]["root"])

    def path(self, row: int) -> str:
        """Video file of a row."""
        return str(place_of(self.root, RuntimeConfig()) / str(self.manifest.row(row).video))

    @cached_property
    def encoder_input(self) -> EncoderInput:
        """What this set's videos went through to be embedded, from the records of its stages."""
        return recorded_input({"embed": self.embed, "extract": self.extract, "ingest": self.ingest})

    def load_encoder(self) -> "Encoder":
        """The encoder that embedded this set; `mscl.embed` with it gives features like this set's.

        Raises:
            CheckpointError: the encoder gives features of another size than the set holds.
            DamagedError: it is not the encoder that was trained.
        """
        from mscl.models.files import read_encoder
        from storage.verify import refuse_changed

        refuse_changed(self.pretrain)  # a sound file, but another training's
        checkpoint = self.pretrain.folder / str(self.pretrain.record.metrics["checkpoint"])
        encoder = read_encoder(checkpoint, own_code=True).encoder
        if encoder.feature_dim != self.features.features_ND.shape[1]:
            raise CheckpointError(
                f"the encoder {checkpoint} gives {encoder.feature_dim} features, the index {self.embed.folder} holds "
                f"{self.features.features_ND.shape[1]}: another encoder made it; run the embed stage again"
            )
        encoder.input = self.encoder_input
        return encoder

    def clip_of(self, video: Path) -> "Clips":
        """The middle clip (T, H, H, 3) of a video file, cut as this set's were; for pictures.

        Raises:
            VideoError: the file does not decode.
        """
        from mscl.video.file_clips import middle_clip

        return middle_clip(video, self.encoder_input.model_copy(update={"clips": 1}))

    def search(
        self, videos: str | PathLike[str] | Iterable[str | PathLike[str]], *, k: int, device: str = "cpu"
    ) -> Neighbours:
        """The k nearest segments of each video file, embedded as this set was.

        Args:
            device: cpu, cuda, or auto; `cuda:1` for the second GPU.

        Raises:
            ConfigError: a device that there is not.
            CheckpointError: the encoder gives features of another size than the set holds.
        """
        from mscl.embedding.neighbours import search
        from mscl.embedding.video_features import features_of_files, video_paths

        precision = EmbedConfig.model_validate(self.embed.record.config["embed"]).precision
        kind = resolve_device(str(device).partition(":")[0], setting="device")
        encoder = self.load_encoder().to(device if ":" in str(device) else kind)
        queries = features_of_files(video_paths(videos), encoder, self.encoder_input, precision=precision)
        found = search(queries.features_ND, self.features, k=k) if queries.videos else []
        return Neighbours(queries, found)


def open_index(workspace: "Workspace | str | PathLike[str]", key: str = "") -> Index:
    """The set that the embed stage indexed last, or the one of a key: of its own result, or of one made from it.

    Raises:
        UserError: there is none, or its encoder or dataset are others by now.
        StorageError: no result with that key, or features that cannot be read.
    """
    from storage.features import read_features
    from storage.layout import Ingested
    from storage.verify import refuse_changed
    from storage.workspace import as_workspace

    workspace = as_workspace(workspace)
    embed = latest_of(workspace, "embed", key)
    stages = made_of(workspace, embed, "ingest", "extract", "pretrain")
    refuse_changed(embed, stages["ingest"])
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
