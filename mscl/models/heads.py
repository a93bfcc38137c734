"""From feature maps to what the losses compare: clip embeddings and local features (METHOD 1.5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClipHead(nn.Sequential):
    """Features (B, C) -> clip embedding (B, D), L2-normalised: Linear, ReLU, Linear."""

    def __init__(self, feature_dim: int, embed_dim: int) -> None:
        super().__init__(nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Linear(feature_dim, embed_dim))

    def forward(self, features_BC: Tensor) -> Tensor:
        """In float32 also under autocast: a temperature of 0.07 magnifies what bfloat16 rounds away."""
        with torch.autocast(features_BC.device.type, enabled=False):
            own_BC = features_BC.to(next(self.parameters()).dtype)
            embedding_BD: Tensor = self[2](self[1](self[0](own_BC)))
        return F.normalize(embedding_BD.float(), dim=1)


def global_average(map_BCTHW: Tensor) -> Tensor:
    """Features (B, C) of the coarsest map."""
    return map_BCTHW.mean(dim=(2, 3, 4))


def local_average(map_BCTHW: Tensor) -> Tensor:
    """Features over time (B, C, T): the mean over the picture. Normalise after any projection."""
    return map_BCTHW.mean(dim=(3, 4))


def normalised(features_BCT: Tensor) -> Tensor:
    """Unit length over channels, in float32."""
    return F.normalize(features_BCT.float(), dim=1)
