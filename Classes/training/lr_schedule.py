"""The learning rate schedule."""

import math

from Classes.common.config import Configuration


def learning_rate(configuration: Configuration, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    Args:
      configuration: `Schedule` is "staircase" (the historic schedule: multiplied by `LearningRateDecay` every
        `EpochsBeforeDecay` epochs) or "cosine", which ends at zero (Loshchilov & Hutter, "SGDR", arXiv:1608.03983).
        During the first `WarmupEpochs` the rate rises linearly (Goyal et al., arXiv:1706.02677).
      step: counted from 0.
    """
    highest, epoch = configuration["LearningRate"], step / steps_per_epoch
    warm_up = configuration["WarmupEpochs"]
    if epoch < warm_up:
        return highest * (step + 1) / (warm_up * steps_per_epoch + 1)
    if configuration["Schedule"] == "cosine":
        done = (epoch - warm_up) / max(configuration["Epochs"] - warm_up, 1)
        return highest * (1 + math.cos(math.pi * min(done, 1))) / 2
    return highest * configuration["LearningRateDecay"] ** (
        step // steps_per_epoch // configuration["EpochsBeforeDecay"]
    )
