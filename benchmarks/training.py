"""A step of end-to-end training, and the backbone's features of new images, beside Keras's own.

python3 benchmarks/run.py training --set NetworkPath=FOLDER

A step is a batch of BatchSize images through the whole network, ours with its auxiliary head. Each way runs in a
process of its own, in turns.
"""

import contextlib
import pathlib

from benchmarks import timing

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = 64
# The set of images whose features have a time to be met.
WHOLE, SECONDS = 2106, 75


def measure(context):
    """Rows for the report.

    Args:
      context: run.Context.
    """
    steps = {kind: f"step of Trainer.py, {kind}" for kind in context.precisions(("f32", "bf16"))}
    steps["keras"] = "step of Keras, float32"
    # One after the other: five processes with a network each would not fit into the memory of a small machine.
    found = _in_turns(context, steps, {})
    rows = [
        timing.row(f"{name}, {context.configuration['BatchSize']} images", found[kind], "s")
        for kind, name in steps.items()
    ]
    rows += [
        timing.ratio(f"{steps[kind]} faster than Keras's", found["keras"], found[kind], 1)
        for kind in found
        if kind != "keras"
    ]
    names = {"features": "features by Trainer.py", "keras-features": "features by Keras, images ready-made"}
    found = _in_turns(context, names, {"images": IMAGES})
    rows += [timing.row(name, [IMAGES / each for each in found[kind]], "images/s") for kind, name in names.items()]
    whole = [WHOLE / IMAGES * each for each in found["features"]]
    rows.append(timing.row(f"{WHOLE} images at that rate", whole, "s", wanted=f"at most {SECONDS}"))
    rows.append(timing.ratio("features faster than by Keras", found["keras-features"], found["features"], 1))
    return rows


def _in_turns(context, kinds, question):
    with contextlib.ExitStack() as stack:
        peers = {kind: stack.enter_context(timing.Peer(HERE / "trainers.py", kind, *context.passed)) for kind in kinds}
        calls = {kind: (lambda peer=peer: peer.ask(question)["seconds"]) for kind, peer in peers.items()}
        return timing.in_turns(calls, max(2, context.rounds // 2), warm=2)
