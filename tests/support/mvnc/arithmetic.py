"""What the stick computes: a frozen graph, every operation's result rounded to float16.

OpenVINO takes the file apart; the arithmetic is numpy's. A sum is carried in float32, as the stick's adders do.
"""

import pathlib
import tempfile

import numpy
import openvino

Core = openvino.Core if hasattr(openvino, "Core") else __import__("openvino.runtime").runtime.Core


class Network:
    """A frozen graph's bytes, ready to answer."""

    def __init__(self, content):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "graph.pb"
            path.write_bytes(content)
            self._nodes = Core().read_model(str(path)).get_ordered_ops()
            self._constants = {
                node.get_friendly_name(): _constant(node) for node in self._nodes if node.get_type_name() == "Constant"
            }

    def answer(self, content):
        """float16 [classes] of the bytes of a float16 image; whatever else the bytes are, they are taken for one."""
        values = dict(self._constants)
        for node in self._nodes:
            kind, name = node.get_type_name(), node.get_friendly_name()
            inputs = [values[port.get_node().get_friendly_name()] for port in node.input_values()]
            if kind == "Result":
                return inputs[0].reshape(-1)
            if kind == "Parameter":
                shape = [int(side) for side in node.get_output_partial_shape(0).to_shape()]
                pixels = numpy.frombuffer(content, "float16")
                values[name] = numpy.resize(pixels, shape)
            elif kind != "Constant":
                with numpy.errstate(over="ignore"):
                    values[name] = OPERATIONS[kind](node.get_attributes(), *inputs).astype("float16")
        raise ValueError("a graph without an end")


def _constant(node):
    data = numpy.array(node.data if hasattr(node, "data") else node.get_data())
    return data.astype("float16") if data.dtype == numpy.float32 else data


def _float(function):
    """A function of float32 arrays."""
    return lambda attributes, *inputs: function(attributes, *(array.astype("float32") for array in inputs))


def _windows(attributes, image, kernel, fill):
    """[1, channels, height, width, *kernel] of an image [1, channels, H, W]."""
    before, after = attributes["pads_begin"], attributes["pads_end"]
    padded = numpy.pad(image, [(0, 0), (0, 0), *zip(before, after, strict=True)], constant_values=fill)
    views = numpy.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), (2, 3))
    down, across = attributes["strides"]
    return views[:, :, ::down, ::across]


def _convolution(attributes, image, weights):
    views = _windows(_padded(attributes, image, weights.shape[2:]), image, weights.shape[2:], 0)
    return numpy.moveaxis(numpy.tensordot(views, weights, ([1, 4, 5], [1, 2, 3])), 3, 1)


def _padded(attributes, image, kernel):
    """The attributes with the padding worked out where OpenVINO left that to be done from the shape."""
    if attributes["auto_pad"] == "valid":
        return {**attributes, "pads_begin": [0, 0], "pads_end": [0, 0]}
    if attributes["auto_pad"] == "explicit":
        return attributes
    totals = []
    for size, side, stride in zip(image.shape[2:], kernel, attributes["strides"], strict=True):
        totals.append(max((-(-size // stride) - 1) * stride + side - size, 0))
    begin = [total // 2 for total in totals]
    return {**attributes, "pads_begin": begin, "pads_end": [t - b for t, b in zip(totals, begin, strict=True)]}


def _largest(attributes, image):
    kernel = attributes["kernel"]
    return _windows(_padded(attributes, image, kernel), image, kernel, -numpy.inf).max((4, 5))


def _average(attributes, image):
    kernel = attributes["kernel"]
    # What is padded does not count.
    views = _windows(_padded(attributes, image, kernel), image, kernel, numpy.nan)
    return numpy.nanmean(views, (4, 5))


def _softmax(attributes, logits):
    powers = numpy.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _product(attributes, left, right):
    left = left.swapaxes(-1, -2) if attributes["transpose_a"] else left
    return left @ (right.swapaxes(-1, -2) if attributes["transpose_b"] else right)


OPERATIONS = {
    "Add": _float(lambda attributes, left, right: left + right),
    "AvgPool": _float(_average),
    "Concat": lambda attributes, *inputs: numpy.concatenate(inputs, attributes["axis"]),
    "Convolution": _float(_convolution),
    "Divide": _float(lambda attributes, left, right: left / right),
    "MatMul": _float(_product),
    "MaxPool": _float(_largest),
    "Multiply": _float(lambda attributes, left, right: left * right),
    "ReduceMean": lambda attributes, image, axes: image.astype("float32").mean(tuple(axes.reshape(-1))),
    "Relu": _float(lambda attributes, values: values.clip(0)),
    "Reshape": lambda attributes, values, shape: values.reshape(shape),
    "Softmax": _float(_softmax),
    "Squeeze": lambda attributes, values, axes: values.squeeze(tuple(axes.reshape(-1) % values.ndim)),
    "Transpose": lambda attributes, values, order: values.transpose(order),
}
