"""Settings that somebody asked for and that change nothing, since another one turns off what they are of."""

from collections.abc import Iterator, Sequence

from mscl.config import ExperimentConfig, PretrainConfig, load_config
from mscl.errors import USER_ERRORS
from mscl.stage.contract import Stage

_OF_HEAD = {
    "linear": ("l2", "folds"), "knn": ("k", "temperature"), "attentive": ("epochs", "lr", "weight_decay", "batch_size")
}  # fmt: skip
_OF_FLOW = ("loss.rotation", "loss.local_motion", "model.flow_width", "model.neck_channels", "augment.angles",
            "augment.scale")  # fmt: skip
_NO_PART_OF_A_KEY = (
    "runtime.",
    "data.root",
    "data.limits.",
    *(f"pretrain.{name}" for name in PretrainConfig.no_result),
)
"""They work, and no result is another one for them."""


def idle_settings(config: ExperimentConfig, overrides: Sequence[str]) -> list[str]:
    """A line for each of these `section.name=value` that has no effect in a whole run with `config`."""
    names = list(dict.fromkeys(override.partition("=")[0] for override in overrides))
    return [
        f"{name} has no effect: {why}"
        for name in names
        for why in [next((why for start, why in _idle(config, name) if name.startswith(start)), "")]
        if why
    ]


def _idle(config: ExperimentConfig, name: str) -> Iterator[tuple[str, str]]:
    """Beginnings of names of settings that do nothing, and why."""
    pretrain, probe, finetune, flow, motion, runtime = (
        config.pretrain, config.probe, config.finetune, config.flow, config.motion, config.runtime,
    )  # fmt: skip
    read = ("pretrain.encoder", "pretrain.model", *(["pretrain.seed"] if pretrain.encoder == "random" else []))
    if pretrain.encoder and not name.startswith(read):
        yield "pretrain.", f"with pretrain.encoder={pretrain.encoder} nothing is trained"
    if not pretrain.loss.flow:
        yield from ((f"pretrain.{one}", "pretrain.loss.flow is false, there is no flow stream") for one in _OF_FLOW)
    elif not pretrain.loss.rotation:
        yield "pretrain.augment.angles", "pretrain.loss.rotation is false, no flow is rotated"
    if not pretrain.loss.local_motion:
        yield "pretrain.model.neck_channels", "pretrain.loss.local_motion is false, there is no neck"
    if pretrain.augment.flip in (0, 1):
        yield "pretrain.augment.flip_draw", f"pretrain.augment.flip is {pretrain.augment.flip:g}, which leaves no draw"
    if not pretrain.augment.jitter:
        yield "pretrain.augment.jitter_draw", "pretrain.augment.jitter is 0"
    processes = runtime.processes or (1 if runtime.device == "cpu" else 0)  # 0: known when GPUs are counted
    if name == "pretrain.bn" and processes * runtime.nodes == 1:
        yield name, "one process has nobody to share batches with; pretrain.bn_splits cuts its own into groups"
    if motion.weight == "motion_map":
        yield from ((f"motion.{one}", "motion.weight is motion_map, E itself") for one in ("attention", "window_px"))
    elif motion.attention == "none":
        yield "motion.window_px", "motion.attention is none"
    for section, optim in (("pretrain", pretrain.optim), ("finetune", finetune.optim)):
        if optim.name != "sgd":
            yield f"{section}.optim.momentum", f"{section}.optim.name is {optim.name}"
    for head, own in _OF_HEAD.items():
        if head != probe.head:
            yield from ((f"probe.{one}", f"probe.head is {probe.head}") for one in own)
    if probe.head == "knn":
        yield "probe.seed", "probe.head is knn, where nothing is random"
    elif probe.head == "linear" and len(probe.l2) == 1:
        for one in ("folds", "seed"):  # `seeds`, too
            yield f"probe.{one}", "probe.l2 is one value, and nothing is left to choose by folds"
    for section, seeds in (("probe", probe.seeds), ("finetune", finetune.seeds)):
        if seeds and name == f"{section}.seed":
            yield name, f"{section}.seeds says which there are"
    if not finetune.enabled and name != "finetune.enabled":
        yield "finetune.", "finetune.enabled is false"
    if finetune.sampling == "segments":
        yield "finetune.stride", "finetune.sampling is segments, whose frames are spread over the whole video"
    elif finetune.stride_frames and name == "finetune.stride":
        yield name, "finetune.stride_frames says it in source frames"
    if not finetune.milestones:
        yield "finetune.milestone_factor", "there are no finetune.milestones"
    if finetune.frames_from == "store":
        yield (
            "finetune.short_side_px",
            "finetune.frames_from is store, whose frames have the size of flow.store_short_side",
        )
    if flow.method != "tvl1":
        yield from ((one, f"flow.method is {flow.method}") for one in ("flow.preset", "flow.backend"))
    if not flow.method.startswith("raft"):
        yield from ((one, f"flow.method is {flow.method}") for one in ("flow.raft_weights", "flow.raft_updates"))
    if flow.method != "denseflow":
        yield "flow.pictures_bound_px", f"flow.method is {flow.method}"
    if not config.data.group_list:
        yield "data.group_column", "there is no data.group_list"
    if runtime.task_runner == "threads":
        yield "runtime.cluster", "runtime.task_runner is threads"
    if runtime.nodes == 1:
        yield "runtime.rendezvous", "runtime.nodes is 1"
    if not runtime.retries:
        yield "runtime.retry_delay_seconds", "runtime.retries is 0"


def unread_settings(stage: Stage, preset: str, overrides: Sequence[str]) -> list[str]:
    """Names of these `section.name=value` that a stage, run alone, does not read: its result is the same without.

    Not asked of a stage that reads no other one's result: its settings mean to look at every video.
    """
    config = load_config(preset, overrides)
    found: list[str] = []
    if not stage.needs:
        return found
    settings = stage.settings(config)
    for override in overrides:
        name = override.partition("=")[0]
        if name.startswith(_NO_PART_OF_A_KEY):
            continue
        try:
            without = load_config(preset, [other for other in overrides if other is not override])
            if without != config and stage.settings(without) == settings:
                found.append(name)
        except USER_ERRORS:  # they hold together: it is read
            continue
    return found
