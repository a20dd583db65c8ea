"""Inference of one trained-like network: the sparse engine, PyTorch dense, and onnxruntime."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.engine_forms import (
    CPU,
    DTYPES,
    IMAGE,
    SEED,
    calibrate,
    fast_storage,
    folded,
    on_engine,
    ordinary,
)
from benchmarks.engine_steps import ONCE, Shifts
from benchmarks.harness import Row
from benchmarks.workload import training_batches
from rewire.engine import Inference
from rewire.models.sparse import SparseNetwork
from rewire.rng import generator

TOLERANCE = 1e-3  # of float32 logits, relative to the largest one
PAUSE = 0.01  # seconds before every reading
Predict = Callable[[Tensor], Tensor]


def inference_rows(
    *, sparsity: float, width: float, batch_sizes: list[int], rounds: int
) -> list[Row]:
    """One row per batch size and form; all have the same weights."""
    model = on_engine(width=width, sparsity=sparsity)
    calibrate(model, next(iter(training_batches(128, CPU)))[0])
    dense = ordinary(model, width=width)
    rows: list[Row] = []
    with ExitStack() as stack, torch.no_grad():
        predictors = sparse_predictors(model, stack) | dense_predictors(dense)
        reason = onnx_missing()
        if reason is None:
            predictors["onnxruntime float32"] = onnx_predictor(folded(dense))
        else:
            rows.append({"part": "inference", "sparsity": sparsity, "note": reason})
        for batch_size in batch_sizes:
            x = torch.rand(batch_size, *IMAGE, generator=generator(SEED, "bench", batch_size))
            rows += _batch_rows(predictors, x, sparsity=sparsity, rounds=rounds)
    return rows


def _batch_rows(
    predictors: Mapping[str, Predict], x: Tensor, *, sparsity: float, rounds: int
) -> list[Row]:
    per = times_per_reading(len(x))
    slow = [] if fast_storage() == "bf16" else [n for n in predictors if n.startswith("dense bf16")]
    tasks = {name: partial(repeated, predict, x, per) for name, predict in predictors.items()}
    every = dict.fromkeys(slow, ONCE)
    shifts = Shifts(tasks, every=every, rounds=rounds, warm_up=2, pause=PAUSE)
    timings = shifts.run(per=per)
    expected = predictors["dense float32"](x)
    dense = {name: t.median for name, t in timings.items() if name.startswith("dense")}
    best = min(dense, key=dense.__getitem__)
    rows = []
    for name, timing in timings.items():
        row: Row = {"part": "inference", "sparsity": sparsity, "batch": len(x), "by": name}
        row |= timing.columns()
        if name not in dense:
            row |= {"against": best, "times faster": dense[best] / timing.median}
        if name.endswith("float32"):
            error = (predictors[name](x) - expected).abs().max()
            row["equal logits"] = bool(error <= TOLERANCE * expected.abs().max())
        rows.append(row)
    return rows


def times_per_reading(images: int) -> int:
    """How often to predict so that a reading is of some milliseconds."""
    return max(1, 16 // images)


def repeated(predict: Predict, x: Tensor, times: int) -> None:
    """Predict so often: what is timed as one reading."""
    for _ in range(times):
        predict(x)


def sparse_predictors(model: SparseNetwork, stack: ExitStack) -> dict[str, Predict]:
    """`Inference` in float32, and the network itself in bf16 with its weights laid out once."""
    stack.enter_context(model.materialised(detach=True))

    def in_bf16(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    return {"sparse float32": Inference(model), "sparse bf16": in_bf16}


def dense_predictors(dense: nn.Module) -> dict[str, Predict]:
    """Ordinary layers as they are, with BatchNorm folded in, and that with weights in bf16."""
    whole = folded(dense)
    halved = folded(dense).to(DTYPES["bf16"])

    def last(x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    return {
        "dense float32": lambda x: dense(last(x)),
        "dense folded float32": lambda x: whole(last(x)),
        "dense bf16": lambda x: halved(last(x).to(DTYPES["bf16"])).float(),
    }


def onnx_missing() -> str | None:
    """Why onnxruntime is not measured; None if it is."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        return f"onnxruntime not measured: pip install {' '.join(missing)}"
    return None


def onnx_predictor(dense: nn.Module) -> Predict:
    """onnxruntime on a `folded` network, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_model(dense), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def onnx_model(dense: nn.Module) -> bytes:
    """A `folded` VGG11 as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, last = [], [], "x"

    def add(kind: str, *parameters: Tensor, **attributes) -> str:
        inputs = [last]
        for parameter in parameters:
            name = f"w{len(weights)}"
            array = parameter.detach().contiguous().numpy()
            weights.append(numpy_helper.from_array(array, name))
            inputs.append(name)
        out = f"y{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    for module in dense:
        if isinstance(module, nn.Conv2d):
            ones = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
            last = add("Conv", module.weight, module.bias, **ones)
        elif isinstance(module, nn.Linear):
            last = add("Gemm", module.weight, module.bias, transB=1)
        elif isinstance(module, nn.ReLU):
            last = add("Relu")
        elif isinstance(module, nn.MaxPool2d):
            last = add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        else:  # positions in the order height, width, channel
            last = add("Transpose", perm=[0, 2, 3, 1])
            last = add("Flatten", axis=1)

    def described(name: str, shape: tuple) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    outputs = described(last, (10,))
    graph = helper.make_graph(nodes, "vgg11", [described("x", IMAGE)], [outputs], weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
