"""The attentive probe: it finds what the mean of the tokens does not show, and padding is not looked at."""

import numpy as np
import pytest
import torch

from mscl.config import load_config
from mscl.errors import ConfigError, DataError
from mscl.score.attentive import AttentiveClassifier, VideoTokens, attentive_probe
from mscl.score.config import ProbeConfig
from mscl.score.probe import linear_probe
from mscl.score.stages import PROBE

CPU = torch.device("cpu")


def tokens_of(labels_V: np.ndarray, *, seed: int) -> np.ndarray:
    """Four tokens a video: noise, and in class 1 two that cancel in the mean."""
    rng = np.random.default_rng(seed)
    tokens_VND = rng.normal(0, 0.3, (len(labels_V), 4, 16))
    tokens_VND -= tokens_VND.mean(1, keepdims=True)
    tokens_VND[labels_V == 1, 0, 3] += 3
    tokens_VND[labels_V == 1, 2, 3] -= 3
    return tokens_VND.astype(np.float16)


def alone(tokens_VND: np.ndarray) -> VideoTokens:
    return VideoTokens(tokens_VND, [np.array([row]) for row in range(len(tokens_VND))])


def test_it_finds_what_the_mean_does_not_show() -> None:
    labels = np.arange(96) % 2
    train, test = tokens_of(labels, seed=0), tokens_of(labels[:40], seed=1)
    config = ProbeConfig(head="attentive", epochs=16, batch_size=16, lr=0.01)
    state = torch.get_rng_state()
    probes = [
        attentive_probe(alone(train), labels, alone(test), labels[:40], num_classes=2, config=config, device=CPU)
        for _ in range(2)
    ]
    assert torch.equal(state, torch.get_rng_state())
    assert probes[0].scores.top1 > 0.85 and probes[0].details.epochs == 16
    assert np.array_equal(probes[0].scores.right_N, probes[1].scores.right_N)
    assert probes[0].details.train_loss == probes[1].details.train_loss, "one seed, one classifier"
    means = [values.astype(np.float32).mean(1) for values in (train, test)]
    linear = linear_probe(means[0], labels, means[1], labels[:40], num_classes=2, config=ProbeConfig(l2=(1.0,)))
    assert linear.scores.top1 < 0.75


def test_a_video_of_several_segments_shows_all_its_tokens_and_no_padding() -> None:
    tokens_SND = np.random.default_rng(0).normal(size=(3, 4, 16)).astype(np.float16)
    videos = VideoTokens(tokens_SND, [np.array([0]), np.array([1, 2])])
    tokens_BMD, absent_BM = videos.batch(np.array([0, 1]), CPU)
    assert tokens_BMD.shape == (2, 8, 16) and absent_BM.sum(1).tolist() == [4, 0]
    np.testing.assert_array_equal(tokens_BMD[1].numpy(), tokens_SND[1:].reshape(8, 16).astype(np.float32))
    torch.manual_seed(0)
    model = AttentiveClassifier(16, 3).eval()
    together = model(tokens_BMD, absent_BM)
    torch.testing.assert_close(together[:1], model(*videos.batch(np.array([0]), CPU)))
    assert not torch.allclose(together[:1], model(tokens_BMD[:1], torch.zeros_like(absent_BM[:1])))


def test_what_cannot_be_probed_is_refused() -> None:
    labels = np.zeros(4, np.int64)
    tokens = alone(tokens_of(labels, seed=0))
    with pytest.raises(DataError, match="the train split has one class"):
        attentive_probe(tokens, labels, tokens, labels, num_classes=2, config=ProbeConfig(), device=CPU)
    config = load_config("demo", ["probe.head=attentive"])
    assert PROBE.preflight is not None
    with pytest.raises(ConfigError, match="set embed.tokens=true"):
        PROBE.preflight(config, {})
    assert load_config("demo+attentive").embed.tokens
