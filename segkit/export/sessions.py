"""Runs exported files in their own runtimes, to compare them with the network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.export.packages import package

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Takes the inputs of a graph in order, gives its outputs in order."""


def open_run(name: str, path: Path, threads: int) -> Run:
    """Loads a file that was just written.

    Args:
        name: of the format: "onnx", "openvino", "pt2" or "torchscript".
        path: the file.
        threads: of the runtime.
    """
    return {"onnx": _onnx, "openvino": _openvino, "pt2": _pt2, "torchscript": _torchscript}[name](path, threads)


def _onnx(path: Path, threads: int) -> Run:
    runtime = package("onnxruntime", "--to onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda arrays: list(session.run(None, dict(zip(names, arrays))))


def _openvino(path: Path, threads: int) -> Run:
    openvino = package("openvino", "--to openvino")
    # the CPU plugin would take bfloat16 where the processor has it, and with it other labels
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)
    return lambda arrays: [np.array(value) for value in compiled(list(arrays)).values()]


def _pt2(path: Path, threads: int) -> Run:
    compiled = torch._inductor.aoti_load_package(str(path), run_single_threaded=threads == 1)

    @torch.no_grad()
    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = compiled(*(torch.from_numpy(array) for array in arrays))
        return [value.numpy() for value in (outputs if isinstance(outputs, tuple | list) else (outputs,))]

    return run


def _torchscript(path: Path, threads: int) -> Run:
    script = torch.jit.load(str(path), map_location="cpu")

    @torch.no_grad()
    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        outputs = script(*(torch.from_numpy(array) for array in arrays))
        return [value.numpy() for value in (outputs if isinstance(outputs, tuple | list) else (outputs,))]

    return run
