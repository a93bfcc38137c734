"""One process of embedding: `torchrun -m mscl.embedding.process JOB.json`."""

import sys
from pathlib import Path

import torch

from mscl.embedding.features import embed_share
from mscl.embedding.job import SECONDS, EmbedJob
from mscl.errors import UserError
from mscl.training.distributed import World, joined_world
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


def main(arguments: list[str]) -> int:
    """Run the job named on the command line; 0 when it is done, 2 when the user can mend what stopped it."""
    try:
        job = EmbedJob.load(Path(arguments[0]))
        if job.runtime.threads:
            torch.set_num_threads(job.runtime.threads)
        with joined_world(job.runtime.device) as world:
            write_share(job, world)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
