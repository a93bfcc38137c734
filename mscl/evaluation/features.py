"""Features of every video: the trained encoder, and the controls that a result needs.

The controls answer two questions. Does training matter: the same network before its first step. Is it
motion: the same encoders on frozen-frame clips, which hold the appearance of a clip and none of its motion.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mscl.config import ClipConfig, EmbedConfig, RuntimeConfig
from mscl.errors import DataError
from mscl.progress import Progress

if TYPE_CHECKING:
    import torch

    from mscl.data.clips import EvalClips
    from mscl.models.encoders import VideoEncoder
    from storage.features import Features
    from storage.manifest import Manifest

VARIANTS = ("trained", "trained_frozen", "untrained", "untrained_frozen")


def embed_variants(
    *,
    encoders: Mapping[str, "VideoEncoder"],
    manifest: "Manifest",
    frame_store: Path,
    output: Path,
    clip: ClipConfig,
    config: EmbedConfig,
    runtime: RuntimeConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Embed every row of `manifest` with every encoder, and write `output/<variant>.zarr`.

    Args:
        encoders: name ("trained", "untrained") -> encoder.
        manifest: usable rows; row i is segment i of the frame store.
        frame_store: folder of the frame store.
        output: folder of the results; variants that are there already are kept.
        clip: length and stride of a clip, as in training.
        config: clips per video, crop, batch, controls (adds the frozen variants).
        runtime: device and loader processes; changes no result.
        progress: told of every batch.

    Returns:
        Metrics: videos, feature size, videos per second of each variant that was computed.

    Raises:
        DataError: no usable video, or an encoder that gives values that are not finite.
    """
    from storage.features import write_features

    if len(manifest) == 0:
        raise DataError("there is no usable video to embed; the manifest says why each was left out")
    segment_ids = [str(name) for name in manifest.column("segment_id")]
    metrics: dict[str, Any] = {"videos": len(manifest)}
    for name, encoder in encoders.items():
        for frozen in (False, True) if config.controls else (False,):
            variant = f"{name}_frozen" if frozen else name
            metrics["feature_dim"] = encoder.feature_dim
            folder = output / f"{variant}.zarr"
            if folder.exists():
                continue
            started = time.monotonic()
            clips = evaluation_clips(
                frame_store, manifest, clip=clip, clips=config.clips, crop_px=config.crop_px, frozen=frozen,
                crops=config.crops,
            )  # fmt: skip
            progress.start(f"Embedding: {variant.replace('_', ', ')}", len(manifest), "video")
            videos = max(1, config.batch_size // (config.clips * config.crops))
            features_ND = embed(encoder, clips, videos_per_batch=videos, runtime=runtime, progress=progress)
            progress.done()
            write_features(
                folder,
                ids=segment_ids,
                labels=np.asarray(manifest.column("label"), dtype=np.int64),
                split=[str(split) for split in manifest.column("split")],
                features_ND=features_ND,
                attributes={"variant": variant, "clips": config.clips, "classes": list(manifest.classes)},
            )
            metrics[f"{variant}_videos_per_second"] = round(len(manifest) / (time.monotonic() - started), 2)
    return metrics


def evaluation_clips(
    frame_store: Path,
    manifest: "Manifest",
    *,
    clip: ClipConfig,
    clips: int,
    crop_px: int,
    frozen: bool,
    crops: int = 1,
) -> "EvalClips":
    """Evenly spaced clips of every row of the manifest: centre crops, or three along the longer side."""
    from mscl.data.clips import EvalClips

    return EvalClips(
        frame_store,
        rows=np.arange(len(manifest)),
        labels=np.asarray(manifest.column("label"), dtype=np.int64),
        clips=clips,
        length=clip.length,
        stride=clip.stride,
        crop_px=crop_px,
        frozen=frozen,
        crops=crops,
        names=[str(name) for name in manifest.column("segment_id")],
    )


def embed(
    encoder: "VideoEncoder", clips: "EvalClips", *, videos_per_batch: int, runtime: RuntimeConfig, progress: Progress
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Features (N, C) of the dataset's N videos: L4 global average, mean over the clips of a video.

    The encoder's parameters and running statistics stay as they are, and so does its mode.

    Raises:
        DataError: features that are not finite, naming the first video.
    """
    import torch

    from mscl.data.colour import normalise_rgb
    from mscl.data.loader import make_eval_loader

    device = evaluation_device(runtime)
    loader = make_eval_loader(
        clips, batch_size=videos_per_batch, workers=runtime.loader_workers, pin_memory=device.type == "cuda"
    )
    was_training = encoder.training
    encoder = encoder.to(device).to(memory_format=torch.channels_last_3d).eval()
    found: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    try:
        with torch.inference_mode():
            for batch in loader:
                batch = batch.to(device, non_blocking=True)
                rgb_N3THW = normalise_rgb(batch.rgb_BKTHW3.flatten(0, 1)).to(memory_format=torch.channels_last_3d)
                features_BKD = encoder(rgb_N3THW).unflatten(0, batch.rgb_BKTHW3.shape[:2])
                features_BD = features_BKD.mean(dim=1).float().cpu().numpy()
                _refuse_infinite(features_BD, batch.segment_B.cpu().numpy())
                found.append(features_BD)
                progress.advance(len(features_BD))
    finally:
        encoder.train(was_training)
    return np.concatenate(found)


def evaluation_device(runtime: RuntimeConfig) -> "torch.device":
    """The device that the configuration asks for; `auto` takes a GPU where there is one."""
    import torch

    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(runtime.device)


def read_variants(folder: Path) -> dict[str, "Features"]:
    """Variant -> features, of those that the embed stage left, in the order of `VARIANTS`.

    Raises:
        DataError: none is there.
    """
    from storage.features import read_features

    found = {name: read_features(folder / f"{name}.zarr") for name in VARIANTS if (folder / f"{name}.zarr").exists()}
    if not found:
        raise DataError(f"no features in {folder}; run the embed stage first")
    return found


def _refuse_infinite(features_BD: np.ndarray[Any, Any], segments_B: np.ndarray[Any, Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(features_BD).all(axis=1))
    if len(bad):
        raise DataError(
            f"the features of segment {segments_B[bad[0]]} are not finite; the checkpoint comes from a training "
            "that diverged: train again with a lower learning rate"
        )
