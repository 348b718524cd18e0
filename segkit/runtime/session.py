"""Graph files in the runtimes that compute them: ONNX Runtime for .onnx, OpenVINO for .xml. torch is never imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segkit.files import DataError, shortened
from segkit.registry import ConfigError
from segkit.runtime.metadata import INPUT, KEY, RESULTS, GraphInfo, parse

GRAPHS = (".onnx", ".xml")
"""Endings of the files that can be run."""


class RunError(DataError):
    """A graph failed at arrays that it says it takes: it is damaged, or there is too little memory."""


class Session(Protocol):
    """A graph that is ready to run.

    Attributes:
        text: what the graph carries under metadata.KEY, None for nothing.
        inputs: names, and shapes with None where a side is free.
        outputs: names.
    """

    text: str | None
    inputs: dict[str, list[int | None]]
    outputs: list[str]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Computes all outputs by name from all inputs by name; RunError where the runtime fails."""


class OnnxSession:
    """A graph in ONNX Runtime; see Session.

    Args:
        path: the .onnx file; weights may lie beside it.
        device: "cpu", "cuda" or "cuda:N".
        threads: of one run, None for all cores.
    """

    def __init__(self, path: Path, device: str, threads: int | None):
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(f'{path}: needs the package onnxruntime; run: pip install "segkit[runtime]"') from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = _providers(path, device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the runtime has an exception class of its own for each status
            raise _unreadable(path, "ONNX Runtime", error) from error
        self._path = path
        self.text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        self.inputs = {
            entry.name: [side if isinstance(side, int) else None for side in entry.shape]
            for entry in self._session.get_inputs()
        }
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Computes all outputs; see Session."""
        try:
            return dict(zip(self.outputs, self._session.run(self.outputs, dict(arrays))))
        except Exception as error:
            raise _failed(self._path, "ONNX Runtime", arrays, error) from error


def _providers(path: Path, device: str, available: list[str]) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"device = {device!r}: {path} runs on 'cpu', 'cuda' or 'cuda:N'")
    if "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"device = {device!r}: this ONNX Runtime has no CUDA; run: pip install onnxruntime-gpu, or take 'cpu'"
        )
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


class OpenVinoSession:
    """A graph in OpenVINO; see Session.

    Args:
        path: the .xml file; its .bin lies beside it.
        device: "cpu", or a device's name in OpenVINO ("GPU", "NPU").
        threads: of one run, None for all cores.
    """

    def __init__(self, path: Path, device: str, threads: int | None):
        try:
            import openvino
        except ImportError as error:
            raise ConfigError(f"{path}: needs the package openvino; run: pip install openvino") from error
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        # 16-bit arithmetic, which newer processors take by themselves, would change labels
        options["INFERENCE_PRECISION_HINT"] = "f32"
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = openvino.Core().read_model(str(path))
            self._compiled = openvino.Core().compile_model(model, device.upper(), options)
        except Exception as error:  # damaged files and unknown devices alike are RuntimeErrors with long texts
            raise _unreadable(path, f"OpenVINO on device {device!r}", error) from error
        self._path = path
        self.text = str(model.get_rt_info([KEY]).value) if model.has_rt_info([KEY]) else None
        self.inputs = {
            port.get_any_name(): [side.get_length() if side.is_static else None for side in port.get_partial_shape()]
            for port in model.inputs
        }
        self.outputs = [port.get_any_name() for port in model.outputs]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Computes all outputs; see Session."""
        try:
            results = self._compiled(dict(arrays))
            return {name: np.array(results[name]) for name in self.outputs}
        except Exception as error:
            raise _failed(self._path, "OpenVINO", arrays, error) from error


def _unreadable(path: Path, runtime: str, error: Exception) -> DataError:
    reason = shortened(" ".join(str(error).split()), 200)
    return DataError(f"{path}: {runtime} cannot load it ({reason}); export the model again")


def _failed(path: Path, runtime: str, arrays: Mapping[str, np.ndarray], error: Exception) -> RunError:
    sizes = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in arrays.items())
    reason = shortened(" ".join(str(error).split()), 200)
    return RunError(
        f"{path}: {runtime} cannot compute it of {sizes} ({reason}); give smaller images, or export the model again"
    )


def is_graph(path: object) -> bool:
    """Returns whether a path ends as the file of a graph does."""
    return str(path).lower().endswith(GRAPHS)


def open_graph(path: str | Path, device: str = "cpu", threads: int | None = None) -> tuple[Session, GraphInfo]:
    """Loads a graph and what it says about itself.

    Args:
        path: what `segkit export` wrote: .onnx, or .xml of OpenVINO.
        device: see OnnxSession and OpenVinoSession.
        threads: of one run, None for all cores.

    Raises:
        ConfigError: the runtime's package or the device is missing.
        DataError: there is no such file, it is damaged, or was not written by `segkit export`.
    """
    file = Path(path)
    if not is_graph(file):
        raise ConfigError(f"{file}: is no exported graph; these end in {' or '.join(GRAPHS)} (segkit export)")
    if not file.is_file():
        encoder = file.with_name(f"{file.stem}.encoder{file.suffix}")
        way_out = f"{encoder} is, the first of a click model's two graphs" if encoder.is_file() else "check the path"
        raise DataError(f"{file}: no such file; {way_out}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads = {threads}: must be 1 or more")
    kind = OnnxSession if file.suffix.lower() == ".onnx" else OpenVinoSession
    session: Session = kind(file, device, threads)
    if session.text is None:
        raise DataError(
            f"{file}: does not say how it is used (it has no entry '{KEY}'), so it is not of `segkit export`; export "
            "the checkpoint by it"
        )
    info = parse(session.text, str(file))
    if misfit := _misfit(session, info):
        raise DataError(f"{file}: {misfit}; export the model again")
    return session, info


def _misfit(session: Session, info: GraphInfo) -> str:
    """What a graph says about itself that is not so; "" where all is."""
    needed = RESULTS.get(info.task, (info.output,))
    if missing := [name for name in (*info.outputs, *needed) if name not in session.outputs]:
        return f"has no output '{missing[0]}', which it says it has"
    first = "clicks" if info.task == "clicks_decoder" else INPUT
    if missing := [name for name in (*info.inputs, first) if name not in session.inputs]:
        return f"has no input '{missing[0]}', which it says it has"
    shape = session.inputs[first]
    if len(shape) != (3 if first == "clicks" else 4):
        return f"its input '{first}' has {len(shape)} axes"
    if first == INPUT:
        height, width = info.size or (None, None)
        for name, side, stated in zip(
            ("batch", "channels", "height", "width"), shape, (info.batch, info.channels, height, width)
        ):
            if None not in (side, stated) and side != stated:
                return f"takes images whose {name} is {side}, and says {stated}"
    return ""
