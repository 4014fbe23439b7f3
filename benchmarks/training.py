"""A step of end-to-end training, and the backbone's features of new images, beside Keras's own.

python3 benchmarks/run.py training --set NetworkPath=FOLDER

A step is a batch of BatchSize images through the whole network, ours with its auxiliary head. Each way runs in a
process of its own, in turns.
"""

import contextlib
import pathlib

from benchmarks import timing

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = 256
# The published set, whose features have a time to be met, once and from nothing.
WHOLE, SECONDS = 2106, 75
# Seconds of a step of the original scripts under TensorFlow 1.4, on such a machine.
ANCESTOR = 8.3


def measure(context):
    """Rows for the report.

    Args:
      context: run.Context.
    """
    return [*_steps(context), *_features(context)]


def _steps(context):
    kinds = {kind: f"step of Trainer.py, {kind}" for kind in context.precisions(("f32", "bf16"))}
    best = list(kinds)[-1]
    kinds |= {"Mixed_7a": "step of Trainer.py from Mixed_7a up", "keras": "step of Keras, float32"}
    # Not beside the features: so many processes with a network each would not fit into the memory of a small machine.
    answers = _in_turns(context, kinds, {})
    found = {kind: [each["seconds"] for each in of_kind] for kind, of_kind in answers.items()}
    batch = context.configuration["BatchSize"]
    rows = [timing.row(f"{name}, {batch} images", found[kind], "s") for kind, name in kinds.items()]
    rows += [
        timing.ratio(f"{kinds[kind]} faster than Keras's", found["keras"], found[kind], 1)
        for kind in found
        if kind in ("f32", "bf16")
    ]
    memory = [each["kilobytes"] for each in answers[best]]
    return [
        *rows,
        timing.ratio(f"{kinds[best]} faster than the ancestor's", [ANCESTOR] * len(found[best]), found[best], 7),
        timing.ratio("from Mixed_7a up faster than the whole", found[best], found["Mixed_7a"], 2),
        timing.row(f"{kinds[best]}: memory", memory, "GB", 1024 / 1e9, wanted="at most 4"),
    ]


def _features(context):
    names = {"features": "features by Trainer.py", "keras-features": "features by Keras, images ready-made"}
    found = {
        kind: [each["seconds"] for each in answers]
        for kind, answers in _in_turns(context, names, {"images": IMAGES}).items()
    }
    rows = [timing.row(name, [IMAGES / each for each in found[kind]], "images/s") for kind, name in names.items()]
    rows.append(timing.ratio("features faster than by Keras", found["keras-features"], found["features"], 1))
    with timing.Peer(HERE / "trainers.py", "features", *context.passed) as peer:
        whole = peer.ask({"images": WHOLE})["seconds"]
    return [*rows, timing.row(f"features of {WHOLE} images, once", [whole], "s", wanted=f"at most {SECONDS}")]


def _in_turns(context, kinds, question):
    """{kind: what it answered at each turn}."""
    answers = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        peers = {kind: stack.enter_context(timing.Peer(HERE / "trainers.py", kind, *context.passed)) for kind in kinds}
        for turn in range(max(2, context.rounds // 2) + 2):
            for kind, peer in peers.items():
                answer = peer.ask(question)
                # The first one traces, the second warms up.
                if turn > 1:
                    answers[kind].append(answer)
    return answers
