import math

import numpy
import pytest
import sklearn.linear_model

from Classes.training import linear_probe
from tests.support import small_networks


def split(count, seed, width=6):
    generator = numpy.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    features = generator.normal(size=(count, width)).astype("float32")
    features[:, 0] += 1.5 * labels
    return features, labels.astype("int64")


def last_layer(tmp_path, *settings):
    configuration = small_networks.configuration(tmp_path, *settings)
    return linear_probe.LinearProbe(configuration, {"train": split(64, 0), "validation": split(40, 1)}, {})


def train(trainer, steps, start=0):
    for step in range(start, steps):
        epoch, skip = divmod(step, trainer.steps_per_epoch)
        trainer.train_step(next(iter(trainer.batches(epoch, skip))), step)


def test_an_epoch_draws_every_image_once_and_each_epoch_another_way(tmp_path):
    trainer = last_layer(tmp_path, "BatchSize=16")

    epochs = [numpy.concatenate([features for features, _ in trainer.batches(epoch, 0)]) for epoch in (0, 0, 1)]

    numpy.testing.assert_array_equal(epochs[0], epochs[1])
    assert not numpy.array_equal(epochs[0], epochs[2])
    everything = split(64, 0)[0]
    everything = (everything - everything.mean(0)) / everything.std(0)
    for epoch in epochs:
        numpy.testing.assert_allclose(numpy.sort(epoch, 0), numpy.sort(everything, 0), atol=1e-6)


def test_skipped_batches_are_those_before(tmp_path):
    trainer = last_layer(tmp_path, "BatchSize=16")

    whole, rest = ([labels.numpy() for _, labels in trainer.batches(2, skip)] for skip in (0, 3))

    numpy.testing.assert_array_equal(rest, whole[3:])


def test_fewer_images_than_a_batch_make_one_step(tmp_path):
    trainer = last_layer(tmp_path, "BatchSize=100")

    batches = list(trainer.batches(0, 0))

    assert trainer.steps_per_epoch == len(batches) == 1
    assert len(batches[0][1]) == 64


def test_the_last_layer_learns_what_logistic_regression_learns(tmp_path):
    settings = ("BatchSize=64", "DropoutRate=0", "LearningRate=0.05", "WeightDecay=0", "EpochsBeforeDecay=100")
    trainer = last_layer(tmp_path, *settings)
    train(trainer, 600)
    features, labels = split(64, 0)
    model = sklearn.linear_model.LogisticRegression(C=math.inf).fit(features, labels)

    network = trainer.network()
    weights, biases = (network[f"InceptionV3/Logits/Conv2d_1c_1x1/{name}"].squeeze() for name in ("weights", "biases"))

    numpy.testing.assert_allclose(weights[:, 1] - weights[:, 0], model.coef_[0], rtol=0.02, atol=0.02)
    assert biases[1] - biases[0] == pytest.approx(model.intercept_[0], abs=0.02)
    validation = split(40, 1)
    loss, accuracy, _ = trainer.evaluate()
    assert accuracy == model.score(*validation)
    chances = model.predict_proba(validation[0])[numpy.arange(40), validation[1]]
    assert loss == pytest.approx(-numpy.log(chances).mean(), abs=0.02)


def test_the_logits_of_a_network_are_those_of_its_last_layer(tmp_path):
    trainer = last_layer(tmp_path)
    train(trainer, 20)
    network = trainer.network()
    features, _ = split(40, 1)

    weights, biases = (network[f"InceptionV3/Logits/Conv2d_1c_1x1/{kind}"] for kind in ("weights", "biases"))
    numpy.testing.assert_allclose(trainer.logits(network), features @ weights[0, 0] + biases, rtol=1e-4, atol=1e-5)
    halved = {name: value / 2 for name, value in network.items()}
    numpy.testing.assert_allclose(trainer.logits(halved), trainer.logits(network) / 2, rtol=1e-4, atol=1e-5)


def test_a_feature_without_spread_counts_for_nothing_and_breaks_nothing(tmp_path):
    (features, labels), validation = split(64, 0), split(40, 1)
    features[:, 3] = 0
    trainer = linear_probe.LinearProbe(
        small_networks.configuration(tmp_path), {"train": (features, labels), "validation": validation}, {}
    )

    train(trainer, 20)

    weights = trainer.network()["InceptionV3/Logits/Conv2d_1c_1x1/weights"]
    assert numpy.isfinite(weights).all()
    assert weights[0, 0, 3].tolist() == [0, 0]


def test_a_first_loss_is_that_of_a_coin(tmp_path):
    trainer = last_layer(tmp_path)

    loss, _, seen, _, _ = trainer.train_step(next(iter(trainer.batches(0, 0))), 0)

    assert loss == pytest.approx(math.log(2))
    assert seen == 10


def test_two_runs_and_a_resumed_one_end_alike(tmp_path):
    first, second = last_layer(tmp_path), last_layer(tmp_path)
    train(first, 20)
    train(second, 9)
    third = last_layer(tmp_path)
    saved = {name: variable.numpy() for name, variable in second.variables().items()}
    for name, variable in third.variables().items():
        variable.assign(saved[name])

    train(third, 20, start=9)

    for one, other in zip(first.trained, third.trained, strict=True):
        numpy.testing.assert_array_equal(one, other)


def after(tmp_path, steps, *settings):
    trainer = last_layer(tmp_path, "DropoutRate=0", "WeightDecay=0", *settings)
    train(trainer, steps)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), ("GradientAccumulationSteps=2",), ("EmaDecay=0.9", "WarmupEpochs=1")])
def test_an_epoch_in_one_call_leaves_what_its_steps_leave(tmp_path, settings):
    stepwise, whole = (last_layer(tmp_path, "BatchSize=8", "LearningRate=0.01", *settings) for _ in range(2))

    train(stepwise, 3 * stepwise.steps_per_epoch)
    for epoch in range(3):
        whole.train_epoch(epoch)

    for name, variable in stepwise.variables().items():
        numpy.testing.assert_array_equal(variable.numpy(), whole.variables()[name].numpy(), err_msg=name)


def test_two_half_batches_change_the_weights_like_a_whole_one(tmp_path):
    whole = after(tmp_path, 4, "BatchSize=32")
    halves = last_layer(tmp_path, "DropoutRate=0", "WeightDecay=0", "BatchSize=16", "GradientAccumulationSteps=2")
    batches = [batch for epoch in range(2) for batch in whole.batches(epoch, 0)]
    for number, (features, labels) in enumerate(batches):
        before = halves.trained[0].numpy()
        halves.train_step((features[:16], labels[:16]), 2 * number)
        numpy.testing.assert_array_equal(halves.trained[0], before)
        halves.train_step((features[16:], labels[16:]), 2 * number + 1)

    for one, other in zip(whole.trained, halves.trained, strict=True):
        numpy.testing.assert_allclose(one, other, atol=1e-6)


def test_a_clipped_step_is_as_long_as_allowed(tmp_path):
    trainer = last_layer(tmp_path, "GradientClip=0.001", "DropoutRate=0")
    seen = []
    trainer.optimizer.apply_gradients = lambda pairs, **options: seen.extend(gradient for gradient, _ in pairs)
    trainer._run_step.python_function(*next(iter(trainer.batches(0, 0))), [0, 0], True, 0)

    assert math.sqrt(sum(float((gradient.numpy() ** 2).sum()) for gradient in seen)) == pytest.approx(0.001, rel=1e-4)


def test_averages_are_measured_and_exported_and_training_continues_without_them(tmp_path):
    trainer = last_layer(tmp_path, "EmaDecay=0.9", "DropoutRate=0", "LearningRate=0.01")
    expected = [variable.numpy() for variable in trainer.trained]
    for step, batch in enumerate(trainer.batches(0, 0)):
        trainer.train_step(batch, step)
        # TensorFlow's ExponentialMovingAverage(0.9, num_updates=step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [decay * old + (1 - decay) * new.numpy() for old, new in zip(expected, trainer.trained, strict=True)]
    trained = [variable.numpy() for variable in trainer.trained]

    with trainer.averaged_weights():
        for variable, average in zip(trainer.trained, expected, strict=True):
            numpy.testing.assert_allclose(variable, average, rtol=1e-5)

    for variable, value in zip(trainer.trained, trained, strict=True):
        numpy.testing.assert_array_equal(variable, value)
    features = split(64, 0)[0]
    biases = expected[1] - features.mean(0) @ (expected[0][0, 0] / features.std(0)[:, None])
    exported = trainer.network()["InceptionV3/Logits/Conv2d_1c_1x1/biases"]
    numpy.testing.assert_allclose(exported, biases, rtol=1e-4, atol=1e-5)


def test_balanced_weights_give_the_rarer_class_its_say(tmp_path):
    features, labels = split(200, 0)
    keep = (labels == 0) | (numpy.arange(200) % 10 == 0)
    splits = {"train": (features[keep], labels[keep]), "validation": split(400, 1)}
    found = []
    for weights in ("none", "balanced"):
        settings = (f"ClassWeights={weights}", "LearningRate=0.05", "DropoutRate=0", "BatchSize=100")
        trainer = linear_probe.LinearProbe(small_networks.configuration(tmp_path, *settings), splits, {})
        train(trainer, 200)
        found.append(float(trainer.trained[1].numpy() @ [-1, 1]))

    assert found[1] > found[0] + 1
