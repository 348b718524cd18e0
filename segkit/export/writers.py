"""Writes traced graphs in the formats of the runtimes, each with the description of segkit.runtime.metadata inside."""

import operator
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram

from segkit.export.packages import package
from segkit.export.parts import Part
from segkit.export.program import quietly
from segkit.files import shortened
from segkit.registry import ConfigError
from segkit.runtime.metadata import KEY

LARGEST_ONNX = 2_000_000_000
"""Bytes that a single ONNX file may have: those of its protobuf format."""


class Format(NamedTuple):
    """A format that models are exported to.

    Attributes:
        suffix: of its files.
        write: writes a part; takes the part, its program, the file, and the checkpoint's name for messages.
        packages: that it needs.
        precisions: that it has.
        runs_here: whether the file is run on this machine to prove it.
    """

    suffix: str
    write: Callable[[Part, ExportedProgram, Path, str], None]
    packages: tuple[str, ...]
    precisions: tuple[str, ...] = ("float32", "float16")
    runs_here: bool = True


def check_packages(name: str) -> None:
    """Raises a ConfigError where a package of a format is missing, or the compiler of "pt2"."""
    for module in FORMATS[name].packages:
        package(module, f"--to {name}")
    if name == "pt2" and not any(shutil.which(compiler) for compiler in ("g++", "clang++", "c++")):
        raise ConfigError("--to pt2: needs a C++ compiler, since the graph is compiled; install g++ (apt install g++)")


def reason_of(error: BaseException) -> str:
    """Returns what an error of a converter began with, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return shortened(" ".join(f"{type(error).__name__}: {error}".split()), 300)


def _floor_divide(dividend: Any, divisor: Any) -> Any:
    """a // b for ONNX, whose Div of integers rounds to 0 where Python's rounds down."""
    from onnxscript import opset20 as op

    return op.Div(op.Sub(dividend, op.Mod(dividend, divisor)), divisor)


def _stable_sort(self: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """torch.sort(stable=True) for ONNX: TopK of all values, which puts the lower index first among equal ones."""
    from onnxscript import opset20 as op

    length = op.Shape(self, start=dim, end=dim + 1 or None)
    return op.TopK(self, length, axis=dim, largest=int(descending), sorted=1)


def write_onnx(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Writes a checked ONNX file with names of inputs, outputs and free dimensions."""
    onnx = package("onnx", "--to onnx")
    try:
        with quietly():
            converted = torch.onnx.export(
                program,
                (),
                None,
                dynamo=True,
                verbose=False,
                input_names=part.info.inputs,
                output_names=part.info.outputs,
                custom_translation_table={
                    operator.floordiv: _floor_divide,
                    torch.ops.aten.sort.stable: _stable_sort,
                },
            )
    except Exception as error:
        reason = reason_of(error)
        raise ConfigError(f"{place}: has operations that ONNX lacks ({reason}); try --to pt2") from error
    assert converted is not None
    proto = converted.model_proto
    if (size := proto.ByteSize()) > LARGEST_ONNX:
        raise ConfigError(f"{place}: {size / 1e9:.1f} GB, and an ONNX file holds 2; export it by --half, or --to pt2")
    _name_sizes(proto, part)
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, part.info.text()
    proto.producer_name, proto.producer_version = "segkit", part.info.segkit_version
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _name_sizes(proto: Any, part: Part) -> None:
    """Gives free dimensions names that a stranger reads, "batch", "height" and "width", everywhere in the graph."""
    words = {0: "batch", 1: "clicks", 2: "height", 3: "width"}
    names: dict[str, str] = {}
    for value, name in zip(proto.graph.input, part.info.inputs):
        for number, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param and number in part.free.get(name, ()):
                names.setdefault(dim.dim_param, words[number])
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), dim.dim_param)


def write_openvino(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Writes OpenVINO's IR, NAME.xml and NAME.bin, by way of ONNX."""
    openvino = package("openvino", "--to openvino")
    middle = path.with_suffix(".onnx")
    write_onnx(part, program, middle, place)
    try:
        save_openvino(openvino, middle, path, part.info.text(), in_half=part.info.precision == "float16")
    finally:
        middle.unlink(missing_ok=True)


def save_openvino(openvino: Any, source: Path, path: Path, text: str, *, in_half: bool) -> None:
    """Converts an ONNX file to OpenVINO's IR."""
    model = openvino.convert_model(str(source))
    model.set_rt_info(text, KEY)
    openvino.save_model(model, str(path), compress_to_fp16=in_half)


def write_pt2(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Compiles the graph by AOTInductor into a package that C++ and Python load without segkit."""
    try:
        with quietly():
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs={"aot_inductor.metadata": {KEY: part.info.text()}}
            )
    except Exception as error:
        reason = reason_of(error)
        raise ConfigError(f"{place}: cannot be compiled by AOTInductor ({reason}); try --to onnx") from error


def write_torchscript(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Writes TorchScript of the graph; branches on sizes are taken as by torch.export."""
    try:
        with quietly(), torch.no_grad():
            example = tuple(program.example_inputs[0]) if program.example_inputs else ()
            script = torch.jit.trace(part.graph, example, check_trace=False, strict=False)
            torch.jit.save(script, str(path), _extra_files={KEY: part.info.text()})
    except Exception as error:
        reason = reason_of(error)
        raise ConfigError(f"{place}: cannot be written as TorchScript ({reason}); try --to onnx or pt2") from error


def write_executorch(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Writes ExecuTorch's .pte for CPUs of phones, its operations lowered to XNNPACK where it has them."""
    exir = package("executorch.exir", "--to executorch")
    xnnpack = package("executorch.backends.xnnpack.partition.xnnpack_partitioner", "--to executorch")
    lowered = exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)
    path.with_suffix(".json").write_text(part.info.text(), encoding="utf-8")


def write_coreml(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Writes an ML program for Apple's devices, an .mlpackage."""
    coreml = package("coremltools", "--to coreml")
    precision = coreml.precision.FLOAT16 if part.info.precision == "float16" else coreml.precision.FLOAT32
    model = coreml.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        compute_precision=precision,
        outputs=[coreml.TensorType(name=name) for name in part.info.outputs],
    )
    model.user_defined_metadata[KEY] = part.info.text()
    model.save(str(path))


def write_tensorrt(part: Part, program: ExportedProgram, path: Path, place: str) -> None:
    """Builds a TensorRT engine for the GPU of this machine, by way of ONNX."""
    trt = package("tensorrt", "--to tensorrt")
    middle = path.with_suffix(".onnx")
    write_onnx(part, program, middle, place)
    try:
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
        if not parser.parse_from_file(str(middle)):
            raise ConfigError(f"{place}: TensorRT cannot read the graph ({parser.get_error(0)}); export it --to onnx")
        config = builder.create_builder_config()
        config.add_optimization_profile(_profile(builder, part))
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ConfigError(f"{place}: TensorRT built no engine; export it --to onnx")
        path.write_bytes(bytes(engine))
        path.with_suffix(".json").write_text(part.info.text(), encoding="utf-8")
    finally:
        middle.unlink(missing_ok=True)


def _profile(builder: Any, part: Part) -> Any:
    """The sizes that an engine is built for: its own, or 64 to 2048 pixels a side, best at 512, and up to 8 images."""
    profile = builder.create_optimization_profile()
    size = part.info.size
    sides = [(size[0], size[1])] * 3 if size else [(64, 64), (512, 512), (2048, 2048)]
    batches = (1, 1, 1) if part.info.batch else (1, 1, 8)
    for number, name in enumerate(part.info.inputs):
        shapes = [tuple(part.examples(side, batch)[number].shape) for side, batch in zip(sides, batches)]
        profile.set_shape(name, *shapes)
    return profile


FORMATS = {
    "onnx": Format(".onnx", write_onnx, ("onnx", "onnxscript", "onnxruntime"), ("float32", "float16", "int8")),
    "pt2": Format(".pt2", write_pt2, ()),
    "openvino": Format(".xml", write_openvino, ("onnx", "onnxscript", "openvino"), ("float32", "float16", "int8")),
    "torchscript": Format(".ts", write_torchscript, ()),
    "executorch": Format(".pte", write_executorch, ("executorch",), ("float32",), runs_here=False),
    "coreml": Format(".mlpackage", write_coreml, ("coremltools",), runs_here=False),
    "tensorrt": Format(".engine", write_tensorrt, ("tensorrt", "onnx", "onnxscript"), runs_here=False),
}
"""What --to takes."""
