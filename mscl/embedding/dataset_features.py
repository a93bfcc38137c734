"""Features of every video: the trained encoder, and the controls that a result needs.

The controls answer two questions. Does training matter: the same network before its first step. Is it motion: the
trained encoder on clips that repeat one frame, which hold appearance and no motion, and on clips in random order.

Work is cut into parts of whole batches, the same ones however many processes share them: the features do not depend
on that number, and what a killed run has finished is not computed again. Parts have checksums: a damaged one is.
"""

import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mscl.devices import device_of, gpus_to_use
from mscl.embedding.config import EmbedConfig
from mscl.embedding.feature_files import Part, is_whole, part_files, read_part, write_part, write_variants
from mscl.embedding.variants import VARIANTS
from mscl.errors import DataError
from mscl.progress import Progress, Silent
from mscl.stage.config import RuntimeConfig
from mscl.video.config import ClipConfig

if TYPE_CHECKING:
    import torch

    from mscl.models.outside_encoder import Encoder
    from mscl.training.config import Precision
    from mscl.video.clip_indices import Shown
    from mscl.video.clips import EvalClips
    from storage.manifest import Manifest


def embed_variants(
    *,
    encoders: Mapping[str, "Encoder"],
    manifest: "Manifest",
    frame_store: Path,
    output: Path,
    clip: ClipConfig,
    config: EmbedConfig,
    runtime: RuntimeConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Embed every row of `manifest` with every encoder in this process, and write `output/<variant>.zarr`.

    Args:
        encoders: name ("trained", "untrained") -> encoder.
        manifest: usable rows; row i is segment i of the frame store.
        frame_store: folder of the frame store.
        output: folder of the results; variants that are there already are kept.
        clip: length and stride of a clip, as in training.
        config: clips per video, crop, batch, controls (adds the clips that stand still and those in random order).
        runtime: device and loader processes; changes no result.
        progress: told of every batch.

    Returns:
        Metrics: `videos` (segments), feature size, and so many a second of each variant that was computed whole.

    Raises:
        DataError: no usable video, or an encoder that gives values that are not finite.
    """
    import torch

    device = torch.device(device_of(0, gpus_to_use(runtime.device, runtime.gpus)))
    seconds = embed_share(
        encoders=encoders, manifest=manifest, frame_store=frame_store, output=output, clip=clip, config=config,
        runtime=runtime, device=device, progress=progress,
    )  # fmt: skip
    return write_variants(manifest, output, config=config, seconds=seconds)


def embed_share(
    *,
    encoders: Mapping[str, "Encoder"],
    manifest: "Manifest",
    frame_store: Path,
    output: Path,
    clip: ClipConfig,
    config: EmbedConfig,
    runtime: RuntimeConfig,
    device: "torch.device",
    progress: Progress | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, float]:
    """Every `world_size`-th part of every variant, as files in `output/.parts`; those that are there whole are kept.

    Returns:
        Seconds of each variant of which everything had to be computed.

    Raises:
        DataError: as `embed_variants`.
    """
    if len(manifest) == 0:
        raise DataError("there is no usable video to embed; the manifest says why each was left out")
    from mscl.training.launch import loader_workers_of

    progress, seconds = progress or Silent(), {}
    for name, encoder in encoders.items():
        for variant, shown in controls_of(name, controls=config.controls).items():
            own = part_files(output, variant, len(manifest), at_once=config.videos_at_once)[rank::world_size]
            todo = [(path, rows) for path, rows in own if read_part(path, len(rows)) is None]
            if not todo or is_whole(output / f"{variant}.zarr"):
                continue
            started = time.monotonic()
            clips = evaluation_clips(
                frame_store, manifest, clip=clip, clips=config.clips, crop_px=config.crop_px, shown=shown,
                crops=config.crops, rows=np.concatenate([np.arange(rows.start, rows.stop) for _, rows in todo]),
            )  # fmt: skip
            progress.start(f"Embedding: {variant.replace('_', ', ')}", len(clips), "segments")
            batches = embedded_batches(
                encoder,
                clips,
                videos_per_batch=config.videos_at_once,
                workers=loader_workers_of(runtime),
                device=device,
                precision=config.precision,
                tokens=config.tokens,
            )
            for path, rows in todo:
                found: list[Part] = []
                while sum(len(part["features"]) for part in found) < len(rows):
                    found.append(next(batches))
                    progress.advance(len(found[-1]["features"]))
                write_part(path, {name: np.concatenate([part[name] for part in found]) for name in found[0]})
            batches.close()
            progress.done()
            if len(todo) == len(own):  # else a rate would count what an earlier run computed
                seconds[variant] = time.monotonic() - started
    return seconds


def controls_of(name: str, *, controls: bool) -> "dict[str, Shown]":
    """Variants of an encoder -> what it is shown: its clips and, where asked for, their controls."""
    own = {variant: shown for variant, (encoder, shown) in VARIANTS.items() if encoder == name}
    return {variant: shown for variant, shown in own.items() if controls or shown == "moving"}


def evaluation_clips(
    frame_store: Path,
    manifest: "Manifest",
    *,
    clip: ClipConfig,
    clips: int,
    crop_px: int,
    shown: "Shown" = "moving",
    crops: int = 1,
    rows: npt.NDArray[np.integer[Any]] | None = None,
) -> "EvalClips":
    """Evenly spaced clips of rows of the manifest, all of them by default, or a control of them: centre crops, or three
    along the longer side."""
    from mscl.video.clips import EvalClips

    rows = np.arange(len(manifest)) if rows is None else rows
    return EvalClips(
        frame_store,
        rows=rows,
        labels=np.asarray(manifest.column("label"), dtype=np.int64)[rows],
        clips=clips,
        length=clip.length,
        stride=clip.stride,
        crop_px=crop_px,
        shown=shown,
        crops=crops,
        names=[str(name) for name in manifest.column("segment_id")],
    )


def embedded_batches(
    encoder: "Encoder",
    clips: "EvalClips",
    *,
    videos_per_batch: int,
    workers: int,
    device: "torch.device",
    precision: "Precision" = "auto",
    tokens: bool = False,
) -> Generator[Part, None, None]:
    """Features (B, C) of the dataset's videos, batch by batch, while `workers` processes load the next ones.

    L4 global average, mean over the clips of a video. `tokens`: also those of all clips of a video, (B, K*N, C). The
    encoder's parameters and running statistics stay as they are, and so does its mode.

    Raises:
        DataError: features that are not finite, naming the first video.
    """
    import torch

    from mscl.models.encoders import convolutions_channels_last
    from mscl.training.loader import make_eval_loader
    from mscl.training.precision import inference
    from mscl.video.normalise import normalise_rgb

    loader = make_eval_loader(clips, batch_size=videos_per_batch, workers=workers, pin_memory=device.type == "cuda")
    was_training = encoder.training
    encoder = encoder.to(device).eval()
    convolutions_channels_last(encoder)
    try:
        for batch in loader:
            # Not around the loop: it would stay in force while the caller has the batch.
            with inference(precision, device):
                batch = batch.to(device, non_blocking=True)
                rgb_N3THW = normalise_rgb(batch.rgb_BKTHW3.flatten(0, 1)).to(memory_format=torch.channels_last_3d)
                views = batch.rgb_BKTHW3.shape[:2]
                features_ND, tokens_NPD = (
                    encoder.features_and_tokens(rgb_N3THW) if tokens else (encoder(rgb_N3THW), None)
                )
                part = {"features": features_ND.unflatten(0, views).float().mean(dim=1).cpu().numpy()}
                if tokens_NPD is not None:
                    part["tokens"] = tokens_NPD.unflatten(0, views).flatten(1, 2).half().cpu().numpy()
            for values in part.values():
                _refuse_infinite(values, batch.segment_B.cpu().numpy())
            yield part
    finally:
        loader.close()
        encoder.train(was_training)


def _refuse_infinite(values_BX: np.ndarray[Any, Any], segments_B: np.ndarray[Any, Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(values_BX).reshape(len(values_BX), -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"the features of segment {segments_B[bad[0]]} are not finite; the checkpoint comes from a training "
            "that diverged: train again with a lower learning rate"
        )
