"""The same predictions by ONNX Runtime, from a graph that takes raw images, too."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

import inference


def graph(network: str, weights: list[np.ndarray]) -> ModelProto:
    """Write the network as ONNX: uint8 (n, 28, 28, 1) to probabilities (n, 10)."""
    constants = {"scale": np.float32(1 / 255)}
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["x0"]),
    ]
    at = "x0"

    def add(kind: str, *inputs: str, **attributes: object) -> None:
        nonlocal at
        into = f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, [at, *inputs], [into], **attributes))
        at = into

    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    if network == "convnet":
        constants["planes"] = np.array([0, 1, 28, 28])  # one channel: the same order
        add("Reshape", "planes")
        for i, (kernel, bias) in enumerate(pairs[:-1]):
            constants |= {f"k{i}": kernel.transpose(3, 2, 0, 1).copy(), f"b{i}": bias}
            add("Conv", f"k{i}", f"b{i}", kernel_shape=[3, 3])
            add("Relu")
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        # Keras flattens height, width, channel.
        add("Transpose", perm=[0, 2, 3, 1])
    constants["flat"] = np.array([0, -1])
    add("Reshape", "flat")
    for i, (kernel, bias) in enumerate(pairs):
        if kernel.ndim != 2:
            continue
        constants |= {f"k{i}": kernel, f"b{i}": bias}
        add("Gemm", f"k{i}", f"b{i}")
        add("Softmax" if i == len(pairs) - 1 else "Relu")
    made = helper.make_graph(
        nodes,
        network,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28, 1])],
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main() -> None:
    given = inference.arguments(__doc__)
    data = inference.Asked(given.data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = given.threads
    session = onnxruntime.InferenceSession(
        graph(given.network, data.weights).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    inference.serve(
        given,
        data,
        lambda images: session.run(None, {"images": images})[0],
        {"onnxruntime": version("onnxruntime")},
    )


if __name__ == "__main__":
    main()
