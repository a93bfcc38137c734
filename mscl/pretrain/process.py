"""`torchrun -m mscl.pretrain.process JOB.json`: pre-training as one process of the job."""

import sys
from pathlib import Path

import numpy as np
import torch

from mscl.errors import DataError, UserError
from mscl.pretrain.augment import Augment
from mscl.pretrain.batch_checks import check_divisions
from mscl.pretrain.dataset import ClipDataset
from mscl.pretrain.job import PretrainJob
from mscl.pretrain.loop import Finished, StopRequest, train
from mscl.pretrain.two_starts import ChosenStarts
from mscl.stage.config import RuntimeConfig
from mscl.training.distributed import World, joined_world
from mscl.training.launch import STOPPED_CODE
from mscl.training.loader import make_loader, steps_per_epoch
from mscl.training.memory import card_memory
from mscl.video.clip_indices import IntArray
from storage.layout import Extracted
from storage.manifest import Manifest, read_manifest
from storage.screen_table import ScreenTable, read_screen


def pretrain(job: PretrainJob, world: World, stop: StopRequest) -> Finished:
    """Train on the chosen clips of the job's stores.

    Raises:
        UserError: settings, data or checkpoint that do not fit, before any compute; a loss that is not finite.
    """
    config = job.pretrain
    check_divisions(config, processes=world.size, cuda=world.device.type == "cuda")
    dataset = open_dataset(job)
    per_epoch = steps_per_epoch(len(dataset), config.batch_size)
    return train(
        config,
        lambda start: make_loader(
            dataset,
            batch_size=config.batch_size,
            start_step=start,
            total_steps=config.total_steps(per_epoch),
            rank=world.rank,
            world_size=world.size,
            workers=job.runtime.loader_workers,
            pin_memory=world.device.type == "cuda",
        ),
        Augment(config.augment, rotation=config.loss.rotation),
        steps_per_epoch=per_epoch,
        output=Path(job.output_folder),
        encoder_input=job.encoder_input,
        world=world,
        stop=stop,
    )


def segments_to_train_on(manifest: Manifest, screen: ScreenTable) -> tuple[IntArray, ChosenStarts]:
    """Train and unlabelled segments with at least one chosen clip start, and all chosen starts."""
    chosen = ChosenStarts.from_lists([screen.chosen(segment) for segment in range(len(screen))])
    in_train = np.flatnonzero(np.isin(manifest.column("split"), ("train", "unlabelled")))
    return np.intersect1d(in_train, chosen.segments()), chosen


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


def set_threads(runtime: RuntimeConfig) -> None:
    """Threads of this process as configured; 0 leaves what the launcher's environment says."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)


def main(arguments: list[str]) -> int:
    """Run the job named on the command line.

    Returns:
        0 when it is done, 2 when the user can mend what stopped it (said on stderr), `STOPPED_CODE` when it was
        asked to stop and has written a checkpoint.
    """
    try:
        job = PretrainJob.load(Path(arguments[0]))
        set_threads(job.runtime)
        advice = "lower pretrain.batch_size or augment.crop_px, or raise pretrain.accumulate"
        with StopRequest() as stop, joined_world(job.runtime.device) as world, card_memory(advice):
            finished = pretrain(job, world, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if finished.stopped:
        print(f"stopped after step {finished.step}; a checkpoint is written", file=sys.stderr)
        return STOPPED_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
