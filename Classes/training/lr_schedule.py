"""The learning rate over a run."""

import math


def learning_rate(configuration, step, steps_per_epoch):
    """The learning rate of a step.

    Args:
      configuration: Configuration; `Schedule` is "staircase", the historic one (cut by `LearningRateDecay` every
        `EpochsBeforeDecay` epochs), or "cosine", which ends at zero (Loshchilov & Hutter, "SGDR", arXiv:1608.03983).
        `WarmupEpochs` rise in a line before either (Goyal et al., arXiv:1706.02677).
      step: from 0.
      steps_per_epoch: whole number.
    Returns:
      float.
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
