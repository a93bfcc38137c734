"""Embedding as a job: what is embedded with what, as a file that torchrun's processes read.

`run_embedding` is the parent's side; the processes run `mscl.embedding.process`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mscl.devices import device_of, gpus_to_use
from mscl.embedding.config import EmbedConfig
from mscl.embedding.dataset_features import controls_of, embed_variants
from mscl.embedding.feature_files import PARTS_FOLDER, part_files, read_part, write_variants
from mscl.errors import CardError
from mscl.progress import Progress
from mscl.stage.config import RuntimeConfig
from mscl.stage.worker_pool import without
from mscl.training.job import Job
from mscl.video.config import ClipConfig
from storage.manifest import read_manifest

if TYPE_CHECKING:
    from mscl.models.outside_encoder import Encoder

SECONDS = f"{PARTS_FOLDER}/seconds.json"


class EmbedJob(Job):
    """Everything that the embedding processes need to know."""

    kind: ClassVar[str] = "embedding"
    memory_advice: ClassVar[str] = "lower embed.batch_size or embed.clips"

    checkpoint: str
    """Pre-trained checkpoint or exported encoder."""
    seed: int = 0
    """Of the weights of the untrained control."""
    manifest_path: str
    frame_store: str
    clip: ClipConfig
    embed: EmbedConfig

    def encoders(self) -> "dict[str, Encoder]":
        """The trained encoder, and the untrained one where controls are asked for.

        Raises:
            CheckpointError: the checkpoint is missing, unreadable, or holds no encoder.
        """
        from mscl.models.files import read_encoder

        file = read_encoder(Path(self.checkpoint), own_code=True)
        found = {"trained": file.encoder}
        if self.embed.controls:
            found["untrained"] = file.untrained(seed=self.seed)
        return found


def over_gpus(
    work: Callable[[RuntimeConfig], None], runtime: RuntimeConfig, gpus: Sequence[int], *, progress: Progress
) -> None:
    """Do the work, which keeps its finished parts, and again without the GPUs that fail, until it is done.

    Raises:
        CardError: the last GPU failed; on several nodes the first that did, since the others would not know.
    """
    while True:
        try:
            return work(runtime)
        except CardError as error:
            if runtime.nodes > 1:
                raise
            gpus = without(gpus, error, progress)
            runtime = runtime.model_copy(update={"gpus": tuple(gpus), "processes": min(runtime.processes, len(gpus))})


def run_embedding(job: EmbedJob, *, progress: Progress) -> dict[str, Any]:
    """Embed on as many processes as `runtime` asks for, here or under torchrun; returns the metrics of the record.

    Goes on after the last finished part of a run that was stopped. Leaves `<variant>.zarr` in the output folder.

    Raises:
        UserError: no usable video, an encoder that cannot be used, or a process that died.
    """
    from mscl.training.launch import processes_of, run_torchrun

    output = Path(job.output_folder)
    manifest = read_manifest(Path(job.manifest_path)).ok()
    gpus = gpus_to_use(job.runtime.device, job.runtime.gpus)
    if job.runtime.nodes == 1 and processes_of(job.runtime) == 1:
        from mscl.training.card_errors import card_errors

        with card_errors(device_of(0, gpus), advice=job.memory_advice):
            return embed_variants(
                encoders=job.encoders(), manifest=manifest, frame_store=Path(job.frame_store), output=output,
                clip=job.clip, config=job.embed, runtime=job.runtime, progress=progress,
            )  # fmt: skip
    job_path, log = output / ".job.json", output / ".embed.log"
    names = ("trained", "untrained") if job.embed.controls else ("trained",)
    variants = [variant for name in names for variant in controls_of(name, controls=job.embed.controls)]
    waiting = {
        path: len(rows)
        for variant in variants
        for path, rows in part_files(output, variant, len(manifest), at_once=job.embed.videos_at_once)
        if read_part(path, len(rows)) is None
    }
    progress.start("Embedding", sum(waiting.values()), "segments")

    for path in waiting:
        path.unlink(missing_ok=True)  # damaged: `follow` waits for its successor

    def follow() -> None:
        for path in [path for path in waiting if path.is_file()]:
            progress.advance(waiting.pop(path))

    def embed_on(runtime: RuntimeConfig) -> None:
        job.model_copy(update={"runtime": runtime}).save(job_path)
        run_torchrun(
            "mscl.embedding.process", [str(job_path)], runtime=runtime, log=log, watch=follow, progress=progress
        )

    over_gpus(embed_on, job.runtime, gpus, progress=progress)
    progress.done()
    seconds = json.loads((output / SECONDS).read_text())
    metrics = write_variants(manifest, output, config=job.embed, seconds=seconds)
    for leftover in (job_path, log):
        leftover.unlink()
    return metrics
