"""One process of embedding: `torchrun -m mscl.embedding.process JOB.json`."""

from functools import partial
from pathlib import Path

from mscl.embedding.dataset_features import embed_share
from mscl.embedding.job import SECONDS, EmbedJob
from mscl.training.distributed import World
from mscl.training.process import run_job
from storage.json_files import write_json
from storage.manifest import read_manifest


def write_share(job: EmbedJob, world: World) -> None:
    """Write this process's share of the parts; the first process leaves behind how long its own took."""
    output = Path(job.output_folder)
    seconds = embed_share(
        encoders=job.encoders(), manifest=read_manifest(Path(job.manifest_path)).ok(),
        frame_store=Path(job.frame_store), output=output, clip=job.clip, config=job.embed, runtime=job.runtime,
        device=world.device, rank=world.rank, world_size=world.size,
    )  # fmt: skip
    if world.is_main:
        write_json(output / SECONDS, seconds)


main = partial(run_job, EmbedJob, write_share)
