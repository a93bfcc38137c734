"""Settings that change nothing are said by name, and no others."""

import pytest

from mscl.config import load_config
from mscl.pipeline import BY_NAME
from mscl.pipeline.without_effect import idle_settings, unread_settings


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["finetune.enabled=false", "finetune.epochs=2"], ["finetune.epochs"]),
        (["pretrain.encoder=random", "pretrain.seed=3", "pretrain.epochs=9"], ["pretrain.epochs"]),
        (["pretrain.encoder=e.safetensors", "pretrain.seed=3"], ["pretrain.seed"]),
        (["probe.head=knn", "probe.k=3", "probe.l2=1", "probe.seeds=0,1"], ["probe.l2", "probe.seeds"]),
        (["probe.k=3"], ["probe.k"]),
        (["finetune.sampling=segments", "finetune.stride_frames=8"], ["finetune.stride_frames"]),
        (["finetune.sampling=clip", "finetune.stride_frames=8", "finetune.stride=2"], ["finetune.stride"]),
        (["finetune.seeds=1,2", "finetune.seed=3", "probe.seed=4"], ["finetune.seed"]),
        (["finetune.milestones=", "finetune.milestone_factor=0.3"], ["finetune.milestone_factor"]),
        (["probe.l2=1", "probe.folds=5", "probe.seeds=0,1"], ["probe.folds", "probe.seeds"]),
        (["pretrain.augment.flip=0", "pretrain.augment.flip_draw=per_view"], ["pretrain.augment.flip_draw"]),
        (["pretrain.augment.jitter=0", "pretrain.augment.jitter_draw=per_frame"], ["pretrain.augment.jitter_draw"]),
        (["pretrain.loss.local_motion=false", "pretrain.model.neck_channels=8"], ["pretrain.model.neck_channels"]),
        (["finetune.frames_from=video", "finetune.short_side_px=64"], []),
        (["pretrain.loss.flow=false", "pretrain.loss.rotation=false"], ["pretrain.loss.rotation"]),
        (["pretrain.optim.momentum=0.5", "pretrain.optim.name=sgd"], []),
        (["flow.method=dis", "flow.preset=fast", "flow.raft_updates=3"], ["flow.preset", "flow.raft_updates"]),
        (["runtime.cluster=tcp://head:8786"], ["runtime.cluster"]),
        (["pretrain.bn=sync", "runtime.device=cpu", "pretrain.bn_splits=2"], ["pretrain.bn"]),
        (["pretrain.bn=sync", "runtime.processes=2"], []),
        (["motion.weight=motion_map", "motion.attention=sum"], ["motion.attention"]),
        (["motion.attention=none", "motion.window_px=9", "motion.pool=max"], ["motion.window_px"]),
    ],
)
def test_what_another_setting_turns_off(overrides: list[str], said: list[str]) -> None:
    lines = idle_settings(load_config("demo", overrides), overrides)
    assert [line.partition(" has no effect: ")[0] for line in lines] == said


def test_what_a_stage_alone_does_not_read() -> None:
    overrides = [
        "pretrain.epochs=9", "pretrain.checkpoint_minutes=3", "embed.clips=3", "clip.length=4", "data.split=2",
        "data.root=videos", "runtime.workers=1", "data.group_pattern=x", "probe.k=3",
    ]  # fmt: skip
    assert unread_settings(BY_NAME["probe"], "demo", overrides) == ["pretrain.epochs", "embed.clips", "clip.length"]
    assert unread_settings(BY_NAME["embed"], "demo", ["embed.clips=3", "probe.k=3", "embed.crop_px=40"]) == ["probe.k"]
    assert unread_settings(BY_NAME["ingest"], "demo", ["probe.k=3"]) == []
