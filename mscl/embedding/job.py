"""Embedding as a job: what is embedded with what, as a file that torchrun's processes read.

`run_embedding` is the parent's side; the processes run `mscl.embedding.process`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mscl.embedding.config import EmbedConfig
from mscl.embedding.features import PARTS, controls_of, embed_variants, part_files, write_variants
from mscl.models.config import ModelConfig
from mscl.progress import Progress
from mscl.training.job import Job
from mscl.video.config import ClipConfig
from storage.manifest import read_manifest

if TYPE_CHECKING:
    from mscl.models.encoders import VideoEncoder

SECONDS = f"{PARTS}/seconds.json"


class EmbedJob(Job):
    """Everything that the embedding processes need to know."""

    kind: ClassVar[str] = "embedding"

    checkpoint: str
    """Pre-trained checkpoint or exported encoder."""
    model: ModelConfig
    """Networks of the untrained control."""
    seed: int = 0
    """Of its weights."""
    manifest_path: str
    frame_store: str
    clip: ClipConfig
    embed: EmbedConfig

    def encoders(self) -> "dict[str, VideoEncoder]":
        """The trained encoder, and the untrained one where controls are asked for.

        Raises:
            CheckpointError: the checkpoint is missing, unreadable, or holds no encoder.
        """
        from mscl.models.encoders import untrained_encoder
        from mscl.models.files import read_encoder

        found = {"trained": read_encoder(Path(self.checkpoint)).encoder}
        if self.embed.controls:
            found["untrained"] = untrained_encoder(self.model, seed=self.seed)
        return found


def run_embedding(job: EmbedJob, *, progress: Progress) -> dict[str, Any]:
    """Embed on as many processes as `runtime` asks for, here or under torchrun; returns the metrics of the record.

    Goes on after the last finished part of a run that was stopped. Leaves `<variant>.zarr` in the output folder.

    Raises:
        UserError: no usable video, an encoder that cannot be used, or a process that died.
    """
    from mscl.training.launch import processes_of, run_torchrun

    output = Path(job.output_folder)
    manifest = read_manifest(Path(job.manifest_path)).ok()
    if job.runtime.nodes == 1 and processes_of(job.runtime) == 1:
        return embed_variants(
            encoders=job.encoders(), manifest=manifest, frame_store=Path(job.frame_store), output=output, clip=job.clip,
            config=job.embed, runtime=job.runtime, progress=progress,
        )  # fmt: skip
    job_path, log = output / ".job.json", output / ".embed.log"
    job.save(job_path)
    names = ("trained", "untrained") if job.embed.controls else ("trained",)
    variants = [variant for name in names for variant in controls_of(name, controls=job.embed.controls)]
    at_once = max(1, job.embed.batch_size // (job.embed.clips * job.embed.crops))
    waiting = {
        path: len(rows)
        for variant in variants
        for path, rows in part_files(output, variant, len(manifest), at_once=at_once)
        if not path.is_file()
    }
    progress.start("Embedding", sum(waiting.values()), "video")

    def follow() -> None:
        for path in [path for path in waiting if path.is_file()]:
            progress.advance(waiting.pop(path))

    run_torchrun(
        "mscl.embedding.process", [str(job_path)], runtime=job.runtime, log=log, watch=follow, progress=progress
    )
    progress.done()
    seconds = json.loads((output / SECONDS).read_text())
    metrics = write_variants(manifest, output, config=job.embed, seconds=seconds)
    for leftover in (job_path, log):
        leftover.unlink()
    return metrics
