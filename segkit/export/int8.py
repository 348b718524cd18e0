"""Graphs of 8-bit whole numbers, by each runtime's own calibration on the user's images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.export.packages import package
from segkit.export.parts import Part
from segkit.export.proof import Case
from segkit.registry import ConfigError
from segkit.runtime.metadata import KEY


def check_int8(name: str) -> None:
    """Raises a ConfigError where a format has no calibration, or where its package is missing."""
    if name == "openvino":
        package("nncf", "--to openvino --int8")
    elif name == "onnx":
        package("onnxruntime.quantization", "--to onnx --int8")
    else:
        raise ConfigError(f"--int8: --to {name} has no calibration here; take --to onnx or --to openvino")


def calibrate_onnx(source: Path, path: Path, part: Part, cases: Sequence[Case]) -> None:
    """Quantizes convolutions and matrix products of an ONNX file, weights per channel, by ONNX Runtime.

    Args:
        source: the float32 file.
        path: takes the int8 file.
        part: of the file.
        cases: images to calibrate with.
    """
    quantization = package("onnxruntime.quantization", "--to onnx --int8")
    onnx = package("onnx", "--to onnx --int8")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        """Hands the images to the calibration one by one."""

        def __init__(self) -> None:
            self._images: Iterator[np.ndarray] = iter([case.image for case in cases])

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {part.info.inputs[0]: image}

    quantization.quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    proto = onnx.load(str(path))
    kept = [entry for entry in proto.metadata_props if entry.key != KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, part.info.text()
    onnx.save(proto, str(path))


def calibrate_openvino(source: Path, path: Path, part: Part, cases: Sequence[Case]) -> None:
    """Quantizes a float32 ONNX file for OpenVINO, by NNCF; arguments as of calibrate_onnx."""
    openvino: Any = package("openvino", "--to openvino")
    nncf: Any = package("nncf", "--to openvino --int8")
    model = openvino.convert_model(str(source))
    images = nncf.Dataset([case.image for case in cases])
    quantized = nncf.quantize(model, images, subset_size=len(cases))
    quantized.set_rt_info(part.info.text(), KEY)
    openvino.save_model(quantized, str(path), compress_to_fp16=False)
