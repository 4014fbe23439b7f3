"""Train the cell finder: compose images, learn, keep checkpoints, and continue after a stop."""

import concurrent.futures
import logging
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy
import tensorflow as tf
import tf_keras

from Classes.common import interrupts
from Classes.common.config import Configuration
from Classes.training import finder_composition, finder_network, finder_sources

# Composed images never repeat, so the length of an epoch is a choice.
BATCHES_PER_EPOCH = 100

log = logging.getLogger("Trainer")


def read_sources(configuration: Configuration, leave_out: str = "") -> finder_composition.Sources:
    """Read the photographs of the configured folders, without the parts that are kept back.

    Args:
      configuration: of Required/Finder.json.
      leave_out: "fields", "cells" or "red_fields", which the network shall not see; empty for none.
    Raises:
      DataError: a folder is missing.
    """
    fields = finder_sources.read_annotated_fields(configuration.path("FinderFieldsDir"), "train")
    sources = {
        "fields": [field for field in finder_sources.training_part(fields) if len(field.white)],
        "cells": finder_sources.read_single_cells(configuration.path("FinderCellsDir"), "train", 2400),
        "red_fields": finder_sources.read_red_cell_fields(configuration.path("FinderRedCellsDir"), held_back=False),
    }
    if leave_out:
        sources[leave_out] = []
    log.info("Photographs: %s.", ", ".join(f"{name} {len(group)}" for name, group in sources.items()))
    return finder_composition.Sources(**sources)


def make_batch(
    sources: finder_composition.Sources, seed: int, step: int, batch_size: int, side: int
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return (uint8 images, targets, weights) of one step; seed and step alone decide them."""
    images, targets, weights = [], [], []
    for index in range(batch_size):
        rng = numpy.random.default_rng([seed, step, index])
        image, boxes, red_known = finder_composition.compose(rng, sources, side)
        target, weight = finder_network.make_targets(boxes, red_known)
        images.append(image)
        targets.append(target)
        weights.append(weight)
    return numpy.stack(images), numpy.stack(targets), numpy.stack(weights)


def batches(
    sources: finder_composition.Sources, configuration: Configuration, start: int, stop: int
) -> Iterator[tuple[int, tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]]:
    """Yield (step, make_batch) for the steps from start to stop; the next one is made in the meantime."""
    multiple = finder_network.MULTIPLE
    fixed = (configuration["BatchSize"], configuration["ImageSize"] // multiple * multiple)
    with concurrent.futures.ThreadPoolExecutor(1, "Compose") as pool:
        waiting = pool.submit(make_batch, sources, configuration["RandomSeed"], start, *fixed)
        for step in range(start, stop):
            ready = waiting.result()
            if step + 1 < stop:
                waiting = pool.submit(make_batch, sources, configuration["RandomSeed"], step + 1, *fixed)
            yield step, ready


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Return the rate of a step: a linear rise over 100 steps, then half a cosine down to a hundredth."""
    progress = min(1.0, step / max(1, steps))
    return highest * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


class Training:
    """Network, optimizer and averaged weights of a run, with their checkpoints.

    Args:
      configuration: Configuration.
      folder: of the checkpoints; a run continues from the newest one.
    """

    def __init__(self, configuration: Configuration, folder: pathlib.Path) -> None:
        tf_keras.utils.set_random_seed(configuration["RandomSeed"])
        self._configuration = configuration
        self.network = finder_network.build_network()
        self.optimizer = tf_keras.optimizers.Adam(configuration["LearningRate"])
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.averages = [tf.Variable(weight, trainable=False) for weight in self.network.weights]
        self.optimizer.build(self.network.trainable_variables)
        checkpoint = tf.train.Checkpoint(
            network=self.network, optimizer=self.optimizer, step=self.step, averages=self.averages
        )
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)
        if self._manager.latest_checkpoint:
            checkpoint.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()
            log.info("Continuing after step %d.", int(self.step))

    @tf.function(reduce_retracing=True)
    def _learn(self, images: Any, targets: Any, weights: Any, decay: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            parts = finder_network.loss(targets, weights, self.network(finder_network.normalize(images), training=True))
            total = tf.add_n(list(parts.values()))
        variables = self.network.trainable_variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(total, variables), 5.0)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for average, weight in zip(self.averages, self.network.weights, strict=True):
            average.assign(decay * average + (1 - decay) * weight)
        return parts

    def run(self, sources: finder_composition.Sources) -> None:
        """Learn until the configured number of epochs; a checkpoint is saved every `SaveSeconds` and at a stop."""
        configuration = self._configuration
        steps = configuration["Epochs"] * BATCHES_PER_EPOCH
        every = configuration["LogEvery"] or BATCHES_PER_EPOCH
        sums: dict[str, float] = {}
        saved = started = time.monotonic()
        try:
            for step, batch in batches(sources, configuration, int(self.step), steps):
                interrupts.check()
                self.optimizer.learning_rate.assign(learning_rate(step, steps, configuration["LearningRate"]))
                decay = min(configuration["EmaDecay"], (1 + step) / (10 + step))
                parts = self._learn(*map(tf.constant, batch), tf.constant(decay, tf.float32))
                self.step.assign(step + 1)
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                if (step + 1) % every == 0:
                    seconds = (time.monotonic() - started) / every
                    shown = ", ".join(f"{name} {value / every:.3f}" for name, value in sums.items())
                    log.info("Step %d of %d (%.2f s each): loss %s.", step + 1, steps, seconds, shown)
                    sums, started = {}, time.monotonic()
                if time.monotonic() - saved > configuration["SaveSeconds"]:
                    self._manager.save(checkpoint_number=step + 1)
                    saved = time.monotonic()
        finally:
            self._manager.save(checkpoint_number=int(self.step))

    def averaged_network(self) -> Any:
        """Return a network with the averaged weights."""
        network = finder_network.build_network()
        network.set_weights([average.numpy() for average in self.averages])
        return network
