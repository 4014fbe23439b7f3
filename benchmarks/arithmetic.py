"""How fast this machine multiplies matrices, in a process of its own: started by inference.py.

python3 benchmarks/arithmetic.py          # then lines such as {"precision": "int8"}

The product of two matrices of SIDE by SIDE, by OpenVINO as everything else: what a network could reach at best.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks import timing
from Classes.common import cli

SIDE = 2048
CALLS = 3


def main(arguments=None) -> int:
    cli.base_parser(__doc__).parse_args(arguments)
    from Classes.inference import openvino_devices

    core, compiled = openvino_devices.new_core(), {}

    def answer(question):
        """{"rate": operations a second} of one arithmetic: the best of CALLS, a multiplication and an addition each."""
        precision = question["precision"]
        if precision not in compiled:
            hint = "f32" if precision == "int8" else precision
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
            compiled[precision] = core.compile_model(product(precision == "int8"), "CPU", options)
            compiled[precision]([left()])
        found = []
        for _ in range(CALLS):
            start = time.perf_counter()
            compiled[precision]([left()])
            found.append(time.perf_counter() - start)
        return {"rate": 2 * SIDE**3 / min(found)}

    timing.serve({}, answer)
    return 0


def left():
    """float32 [SIDE, SIDE]; a full matrix of one value takes as long as any other."""
    import numpy

    return numpy.full((SIDE, SIDE), 0.5, "float32")


def product(quantised):
    """openvino.Model: a matrix times a constant one, in int8 where `quantised`; the sum of each row comes out."""
    import numpy
    import openvino
    from openvino import opset13

    first = opset13.parameter([SIDE, SIDE], name="left")
    second = opset13.constant(numpy.random.default_rng(0).uniform(-1, 1, (SIDE, SIDE)).astype("float32"))
    factors = [first, second]
    if quantised:
        ends = [numpy.float32(-1), numpy.float32(1)] * 2
        factors = [opset13.fake_quantize(factor, *ends, levels=255) for factor in factors]
    # The whole product would be written to memory for nothing.
    return openvino.Model([opset13.reduce_max(opset13.matmul(*factors, False, False), numpy.array([1]))], [first])


if __name__ == "__main__":
    sys.exit(cli.run_cli(main, cli.SERVING))
