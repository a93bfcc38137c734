"""MSCL and its baselines: query networks, key networks, queues (METHOD 1.5 to 1.7).

Which terms there are is configuration: without flow this is MoCo on RGB (loss 1), without rotation there is no FRA,
without local motion neither neck nor loss 8. Nothing is built, computed or kept that no loss uses.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from mscl.losses import Embeddings, LocalFeatures, LossTerms, mscl_losses
from mscl.models.config import LossConfig, ModelConfig
from mscl.models.encoders import VideoEncoder, build_flow_encoder, build_rgb_encoder
from mscl.models.heads import ClipHead, global_average, local_average, normalised
from mscl.models.neck import MotionNeck
from mscl.models.queue import KeyQueues
from mscl.views import View

StreamT = TypeVar("StreamT", bound=nn.Module)


class RGBStream(nn.Module):
    """RGB clip -> clip embedding (B, D) and, with a neck, local features (B, C, T)."""

    def __init__(self, encoder: VideoEncoder, mlp: ClipHead, neck: MotionNeck | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.mlp = mlp
        self.neck = neck

    def forward(self, rgb_B3THW: Tensor) -> tuple[Tensor, Tensor | None]:
        pyramid = self.encoder.pyramid(rgb_B3THW)
        embedding_BD: Tensor = self.mlp(global_average(pyramid[-1]))
        if self.neck is None:
            return embedding_BD, None
        return embedding_BD, normalised(local_average(self.neck(pyramid, levels=1)[0]))


class FlowStream(nn.Module):
    """Colour-coded flow -> clip embedding (B, D) and, if they are used, local features (B, C, T)."""

    def __init__(self, encoder: VideoEncoder, mlp: ClipHead, local: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.mlp = mlp
        self.local = local

    def forward(self, flow_B3FHW: Tensor) -> tuple[Tensor, Tensor | None]:
        l4 = self.encoder.pyramid(flow_B3FHW)[-1]
        embedding_BD: Tensor = self.mlp(global_average(l4))
        return embedding_BD, None if self.local is None else normalised(self.local(local_average(l4)))


class MSCL(nn.Module):
    """Query and key networks and the queues; `forward` is the differentiable part of a step.

    One step is written out in `mscl.pretrain.step`. The initial state is a function of the arguments and the seed.

    Args:
        model: networks.
        loss: terms, queue size, temperature.
        seed: of the initial weights and queues; the RGB encoder starts as `untrained_encoder(model, seed=seed)`.
        bn_splits: the key batch is encoded in this many groups with their own batch statistics (one process:
            stands in for shuffling over ranks).
    """

    def __init__(self, model: ModelConfig, loss: LossConfig, *, seed: int, bn_splits: int = 1) -> None:
        super().__init__()
        self.loss_config = loss
        self.bn_splits = bn_splits
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.query_rgb = _rgb_stream(model, neck=loss.flow and loss.local_motion)
            self.query_flow = _flow_stream(model, local=loss.local_motion) if loss.flow else None
            self.queues = KeyQueues(model.embed_dim, loss.queue_size, flow=loss.flow, decay=loss.queue_decay)
        # Key networks start as copies. They have no neck: no loss reads key feature maps (D20).
        self.key_rgb = _frozen(RGBStream(self.query_rgb.encoder, self.query_rgb.mlp))
        self.key_flow = None
        if self.query_flow is not None:
            self.key_flow = _frozen(FlowStream(self.query_flow.encoder, self.query_flow.mlp))

    def forward(self, q: View, keys: Embeddings, enqueued: Embeddings | None = None) -> LossTerms:
        """All configured losses of a query view against the keys of the same clips and the queues.

        Args:
            keys: this rank's keys, in the order of `q`.
            enqueued: keys of all ranks, needed for `enqueue: released` only (D6).
        """
        rgb_BD, rgb_local_BCT = self.query_rgb(q.rgb_B3THW)
        flow_BD = flow_local_BCT = rotated_BD = rotated_local_BCT = None
        if self.query_flow is not None:
            flow_BD, flow_local_BCT = self.query_flow(_given(q.flow_B3FHW, "flow"))
            if self.loss_config.encodes_rotated_query:
                # A pass of its own: plain and rotated flow each have their own batch statistics.
                rotated_BD, rotated_local_BCT = self.query_flow(_given(q.rotated_B3FHW, "rotated flow"))
        with torch.autocast(rgb_BD.device.type, enabled=False):
            local = None
            if rgb_local_BCT is not None and flow_local_BCT is not None:
                local = LocalFeatures(rgb_local_BCT, flow_local_BCT, rotated_local_BCT)
            late_flow_DK = None
            if self.loss_config.enqueue == "released" and enqueued is not None:
                late_flow_DK = self.queues.negatives_after(enqueued).flow
            role = self.loss_config.rotation_role
            return mscl_losses(
                Embeddings(rgb_BD, flow_BD, rotated_BD if role == "both" else None),
                keys,
                self.queues.negatives(),
                temperature=self.loss_config.temperature,
                local=local,
                hard_negatives_BD=keys.rotated if role == "hard" else None,
                late_flow_DK=late_flow_DK,
            )

    @torch.no_grad()
    def encode_keys(self, k: View, *, late_flow_momenta: Sequence[float | Tensor] = ()) -> Embeddings:
        """Keys of a view, without gradient; batch statistics are those of this forward pass.

        Args:
            late_flow_momenta: updates of the flow key network between the keys of flow and of rotated flow (D7).
        """
        rgb_BD = self._grouped(self.key_rgb, k.rgb_B3THW)
        flow_BD = rotated_BD = None
        if self.key_flow is not None:
            flow_BD = self._grouped(self.key_flow, _given(k.flow_B3FHW, "flow"))
            self.update_flow_keys(late_flow_momenta)
            if self.loss_config.encodes_rotated_key:
                rotated_BD = self._grouped(self.key_flow, _given(k.rotated_B3FHW, "rotated flow"))
        return Embeddings(rgb_BD, flow_BD, rotated_BD)

    def update_keys(self, rgb_momentum: float | Tensor, flow_momentum: float | Tensor) -> None:
        """EMA of the key networks from the query's."""
        ema_(self.key_rgb, self.query_rgb, rgb_momentum)
        self.update_flow_keys([flow_momentum])

    def update_flow_keys(self, flow_momenta: Sequence[float | Tensor]) -> None:
        """EMA of the flow key network alone, once per momentum given (D7)."""
        if self.key_flow is not None and self.query_flow is not None:
            for momentum in flow_momenta:
                ema_(self.key_flow, self.query_flow, momentum)

    def _grouped(self, stream: nn.Module, clips: Tensor) -> Tensor:
        if self.bn_splits == 1:
            embedding_BD: Tensor = stream(clips)[0]
            return embedding_BD
        return torch.cat([stream(group)[0] for group in clips.chunk(self.bn_splits)])


@torch.no_grad()
def ema_(key: nn.Module, query: nn.Module, momentum: float | Tensor) -> None:
    """key <- momentum * key + (1 - momentum) * query, for every parameter of `key`, in a few fused kernels.

    Buffers stay: batch statistics of the key networks come from their own forward passes (METHOD 1.7).
    """
    source = dict(query.named_parameters())
    names, parameters = zip(*key.named_parameters(), strict=True)
    targets: list[Tensor] = list(parameters)
    sources: list[Tensor] = [source[name] for name in names]
    if isinstance(momentum, Tensor):  # read on the device: a captured step sees what it holds by then
        moves = torch._foreach_sub(sources, targets)
        torch._foreach_mul_(moves, 1 - momentum)
        torch._foreach_add_(targets, moves)
    else:
        torch._foreach_lerp_(targets, sources, 1 - momentum)


def _rgb_stream(model: ModelConfig, *, neck: bool) -> RGBStream:
    encoder = build_rgb_encoder(model)
    mlp = ClipHead(encoder.feature_dim, model.embed_dim)
    if not neck:
        return RGBStream(encoder, mlp)
    # SlowOnly-50 keeps its temporal size through the pyramid, r3d_18 halves it.
    r18 = model.backbone == "r18"
    motion_neck = MotionNeck(
        encoder.pyramid_dims,
        model.neck_channels,
        num_pconv=2 if r18 else 1,
        stride=(2, 2, 2) if r18 else (1, 2, 2),
    )
    motion_neck.freeze_unread()
    return RGBStream(encoder, mlp, motion_neck)


def _flow_stream(model: ModelConfig, *, local: bool) -> FlowStream:
    encoder = build_flow_encoder(model)
    mlp = ClipHead(encoder.feature_dim, model.embed_dim)
    if not local:
        return FlowStream(encoder, mlp)
    # R50's 256 channels meet the neck's 128 through a 1x1 convolution; R18's are as many as the neck's.
    same = encoder.feature_dim == model.neck_channels
    return FlowStream(encoder, mlp, nn.Identity() if same else nn.Conv1d(encoder.feature_dim, model.neck_channels, 1))


def _frozen(stream: StreamT) -> StreamT:
    return copy.deepcopy(stream).requires_grad_(False)


def _given(clips: Tensor | None, name: str) -> Tensor:
    if clips is None:
        raise ValueError(f"the configured losses need {name}, and the view has none; load it or turn the losses off")
    return clips
