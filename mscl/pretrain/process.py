"""`torchrun -m mscl.pretrain.process JOB.json`: pre-training as one process of the job."""

from functools import partial
from pathlib import Path

from mscl.errors import DataError
from mscl.pretrain.augment import Augment
from mscl.pretrain.batch_checks import check_divisions
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.fit_mscl import fit_mscl
from mscl.pretrain.job import PretrainJob
from mscl.pretrain.two_starts import segments_to_train_on
from mscl.training.distributed import World
from mscl.training.epochs import steps_per_epoch
from mscl.training.fit import Finished, StopRequest
from mscl.training.launch import loader_workers_of
from mscl.training.loader import Loader, make_loader, prepare_workers
from mscl.training.process import run_job
from mscl.views import RawBatch
from storage.layout import Extracted
from storage.manifest import read_manifest
from storage.screen_table import read_screen


def pretrain(job: PretrainJob, world: World) -> Finished:
    """Train on the chosen clips of the job's stores.

    Raises:
        UserError: settings, data or checkpoint that do not fit, before any compute; a loss that is not finite.
    """
    config = job.pretrain
    check_divisions(config, processes=world.size, cuda=world.device.type == "cuda")
    dataset = open_dataset(job)
    per_epoch = steps_per_epoch(len(dataset), config.batch_size)
    workers = loader_workers_of(job.runtime)
    prepare_workers(dataset, workers=workers)

    def loader(start: int) -> Loader[RawBatch]:
        return make_loader(
            dataset,
            batch_size=config.batch_size,
            start_step=start,
            total_steps=config.total_steps(per_epoch),
            rank=world.rank,
            world_size=world.size,
            workers=workers,
            pin_memory=world.device.type == "cuda",
        )

    loss = config.loss
    augment = Augment(config.augment, rotation_q=loss.encodes_rotated_query, rotation_k=loss.encodes_rotated_key)
    with StopRequest() as stop:
        return fit_mscl(
            config,
            loader,
            augment,
            steps_per_epoch=per_epoch,
            output=Path(job.output_folder),
            encoder_input=job.encoder_input,
            world=world,
            stop=stop,
            tracking=job.tracking,
        )


def open_dataset(job: PretrainJob) -> ClipDataset:
    """Train split of the manifest, as far as the screen chose clips.

    Raises:
        DataError: no clip is left.
    """
    manifest = read_manifest(Path(job.manifest_path)).ok()
    segments, chosen = segments_to_train_on(manifest, read_screen(Path(job.screen_path)))
    if segments.size == 0:
        raise DataError(
            f"no clip is left to train on: {len(manifest)} usable segments, {chosen.segments().size} of them with "
            f"chosen clips, none of those in the train split; see the reasons in {Path(job.screen_path).name}, "
            "shorten clip.length or clip.stride, or take screen.select=all"
        )
    extract = Extracted(Path(job.extract_folder))
    return ClipDataset(
        extract.flow,
        extract.frames,
        segments=segments,
        chosen=chosen,
        clip=job.encoder_input.clip,
        augment=job.pretrain.augment,
        flow=job.pretrain.loss.flow,
        seed=job.pretrain.seed,
        names=manifest.column("segment_id").tolist(),
    )


main = partial(run_job, PretrainJob, pretrain)
