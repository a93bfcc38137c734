"""METHOD 1.7 as one would write it down first: what `benchmarks.step` measures against."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscl.models.heads import global_average, local_average, normalised
from mscl.models.mscl import MSCL, FlowStream, RGBStream
from mscl.pretrain.config import PretrainConfig
from mscl.views import TwoViews


class PlainStep:
    """One step without the savings; takes over the weights of `model`, which is not to be used any more."""

    def __init__(self, model: MSCL, config: PretrainConfig, *, key_momentum: float) -> None:
        for module in model.modules():
            for plain in (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d):
                if isinstance(module, plain):
                    setattr(module, "__class__", plain)  # noqa: B010  (to the type checker it is a read-only name)
        self.model = model.to(memory_format=torch.contiguous_format)
        self.key_neck = copy.deepcopy(model.query_rgb.neck)
        assert model.query_flow is not None and model.key_flow is not None
        self.query_flow: FlowStream = model.query_flow
        self.key_flow: FlowStream = model.key_flow
        for stream in (self.query_flow, self.key_flow):
            first = stream.encoder.stem[0]
            assert isinstance(first, nn.Conv3d)
            first.stride = (2, 2, 2)
        self.key_momentum = key_momentum
        self.temperature = config.loss.temperature
        self.clip_norm = config.optim.clip_norm
        self.optimiser = torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.optim.lr,
            momentum=config.optim.momentum,
            weight_decay=config.optim.weight_decay,
            foreach=False,
        )

    def rgb(self, stream: RGBStream, neck: nn.Module | None, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Clip embedding and local features; the neck gives all its levels."""
        pyramid = self.pyramid(stream.encoder, clip)
        assert neck is not None
        return stream.mlp(global_average(pyramid[-1])), normalised(local_average(neck(pyramid)[0]))

    def flow(self, stream: FlowStream, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Clip embedding and local features (R18: of as many channels as the neck's)."""
        l4 = self.pyramid(stream.encoder, fields)[-1]
        return stream.mlp(global_average(l4)), normalised(local_average(l4))

    @staticmethod
    def pyramid(encoder: nn.Module, clip: Tensor) -> list[Tensor]:
        """L2, L3 and L4."""
        maps = [clip]
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            maps.append(getattr(encoder, name)(maps[-1]))
        return maps[3:]

    def nce(self, q_BD: Tensor, k_BD: Tensor, queue_DK: Tensor) -> Tensor:
        """One cross-entropy, its value and accuracy read at once."""
        logits = torch.cat([(q_BD * k_BD).sum(1, keepdim=True), q_BD @ queue_DK], dim=1) / self.temperature
        loss = F.cross_entropy(logits, torch.zeros(len(q_BD), dtype=torch.int64, device=q_BD.device))
        (logits.argmax(1) == 0).float().mean().item()
        loss.item()
        return loss

    def __call__(self, views: TwoViews) -> dict[str, float]:
        """The step; the eight losses by name."""
        model, q, k = self.model, views.q, views.k
        assert q.flow_B3FHW is not None and q.rotated_B3FHW is not None
        assert k.flow_B3FHW is not None and k.rotated_B3FHW is not None
        with torch.no_grad():
            for key, query in ((model.key_rgb, model.query_rgb), (self.key_flow, self.query_flow)):
                sources = dict(query.named_parameters())
                for name, parameter in key.named_parameters():
                    parameter.copy_(self.key_momentum * parameter + (1 - self.key_momentum) * sources[name])
            k_r, _ = self.rgb(model.key_rgb, self.key_neck, k.rgb_B3THW)
            k_f, _ = self.flow(self.key_flow, k.flow_B3FHW)
            k_t, _ = self.flow(self.key_flow, k.rotated_B3FHW)
        q_r, r = self.rgb(model.query_rgb, model.query_rgb.neck, q.rgb_B3THW)
        q_f, f = self.flow(self.query_flow, q.flow_B3FHW)
        q_t, t = self.flow(self.query_flow, q.rotated_B3FHW)
        assert model.queues.flow_DK is not None
        n_r, n_f = model.queues.rgb_DK.clone(), model.queues.flow_DK.clone()
        scores = torch.einsum("bdt,bds->bts", r, torch.cat([f, t], 2)).flatten(0, 1) / self.temperature
        targets = torch.arange(r.shape[2], device=r.device).repeat(len(r))
        losses = {
            "rgb": self.nce(q_r, k_r, n_r),
            "flow": self.nce(q_f, k_f, n_f),
            "rotated": self.nce(q_t, k_t, n_f),
            "rgb_to_flow": self.nce(q_r, k_f, n_f),
            "flow_to_rgb": self.nce(q_f, k_r, n_r),
            "rgb_to_rotated": self.nce(q_r, k_t, n_f),
            "rotated_to_rgb": self.nce(q_t, k_r, n_r),
            "local_motion": F.cross_entropy(scores, targets),
        }
        start = int(model.queues.pointer.item())
        model.queues.rgb_DK[:, start : start + len(k_r)] = k_r.T
        model.queues.flow_DK[:, start : start + len(k_f)] = k_f.T
        model.queues.pointer.fill_((start + len(k_r)) % n_r.shape[1])
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm, foreach=False)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return {name: loss.item() for name, loss in losses.items()}
