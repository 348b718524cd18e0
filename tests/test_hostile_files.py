"""Files that somebody made to do harm: every known trick, at every reader. Nothing of them runs, all are refused."""

import ast
import io
import json
import os
import pickle
import resource
import socket
import struct
import tarfile
import time
import zipfile
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segkit import api
from segkit.backbones.weights import read_weights
from segkit.cli.main import main
from segkit.config import load_config
from segkit.convert.published import read_published
from segkit.data.files.images import load_array, read_image
from segkit.data.files.masks import read_colors, read_mask
from segkit.data.files.name_list import read_lines
from segkit.data.files.packed_pickle import load_layers, load_published
from segkit.data.files.plain_pickle import load_plain
from segkit.data.incremental.selection import read_lists
from segkit.data.instances.coco import COCOInstances
from segkit.data.interactive.ade20k import ADE20KClicks
from segkit.data.interactive.coco import COCOClicks
from segkit.data.interactive.coco_lvis import COCOLVISClicks
from segkit.data.interactive.lvis import LVISClicks
from segkit.data.interactive.open_images import OpenImagesClicks
from segkit.data.interactive.panoptic import COCOPanopticClicks
from segkit.data.interactive.voc import read_instances
from segkit.data.prepare.lists import prepare_ade20k, prepare_open_images
from segkit.data.semantic.voc import read_sbd
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.files import DataError
from segkit.registry import ConfigError

ROOT = Path(__file__).parents[1]
REFUSALS = (ConfigError, CheckpointError, DataError)
SECONDS, BYTES, LETTERS = 5.0, 1 << 30, 2500


@pytest.fixture(autouse=True)
def unharmed(tmp_path, monkeypatch):
    """A working directory of its own, in which no file may appear beside those of the test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    name = torch._utils._rebuild_tensor_v2.__name__
    yield folder
    assert not list(folder.parent.rglob("pwned*")), "code of a file ran"
    assert torch._utils._rebuild_tensor_v2.__name__ == name


def refused(read, *args, match: str | None = None) -> str:
    """Calls a reader, which must refuse the file in one short sentence, soon, and with little memory."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(REFUSALS, match=match) as found:
        read(*args)
    assert time.process_time() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
    text = str(found.value)
    assert 0 < len(text) < LETTERS and "Traceback" not in text
    return text


# pickles ------------------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


RUN = text("touch pwned")
TENSOR = name("torch._utils", "_rebuild_tensor_v2")
ORDERED = name("collections", "OrderedDict")
PROGRAMS = {
    "reduce": name("os", "system") + RUN + b"\x85R.",
    "builtin": name("builtins", "eval") + text("open('pwned', 'w')") + b"\x85R.",
    "python2": name("__builtin__", "eval") + text("open('pwned', 'w')") + b"\x85R.",
    "inst": b"(" + b"S'touch pwned'\n" + b"ios\nsystem\n.",
    "obj": b"(" + name("os", "system") + RUN + b"o.",
    "newobj": name("subprocess", "Popen") + text("touch") + text("pwned") + b"\x86\x85\x81.",
    "newobj_ex": b"\x80\x04" + name("subprocess", "Popen") + text("touch pwned") + b"\x85}\x92.",
    "stack_global": b"\x80\x04" + text("os") + text("system") + b"\x93" + RUN + b"\x85R.",
    "dotted": b"\x80\x04" + text("torch") + text("os.system") + b"\x93" + RUN + b"\x85R.",
    "ext1": b"\x80\x02\x82\x01" + RUN + b"\x85R.",
    "ext4": b"\x80\x02\x84\x01\x00\x00\x00" + RUN + b"\x85R.",
    "getattr": name("builtins", "getattr") + name("os", "path") + text("system") + b"\x86R" + RUN + b"\x85R.",
    "getattr_chain": name("operator", "attrgetter") + text("system") + b"\x85R" + name("sys", "modules") + b"\x85R.",
    "partial": name("functools", "partial") + name("os", "system") + RUN + b"\x86R)R.",
    "build_function": TENSOR + b"N}" + text("__name__") + text("pwned") + b"s\x86b.",
    "build_class": ORDERED + b"N}" + text("__setitem__") + name("os", "system") + b"s\x86b.",
    "build_object": ORDERED + b")R}" + text("items") + name("os", "system") + b"sb.",
    "build_dtype": name("torch", "float32") + b"N}" + text("itemsize") + b"K\x05s\x86b.",
    "setitem_of_class": ORDERED + text("a") + text("b") + b"s.",
    "append_to_function": TENSOR + text("a") + b"a.",
    "torch_load": name("torch", "load") + text("pwned.pt") + b"\x85R.",
    "load_from_bytes": name("torch.storage", "_load_from_bytes") + b"C\x04cos\n" + b"\x85R.",
    "torch_module": name("torch.nn", "Linear") + b"K\x01K\x01\x86R.",
    "hub": name("torch.hub", "load") + text("a/b") + text("c") + b"\x86R.",
    "jit": name("torch.jit", "load") + text("x") + b"\x85R.",
    "compile": name("torch._dynamo", "optimize") + b")R.",
    "ufunc": name("numpy", "frompyfunc") + name("os", "system") + b"K\x01K\x01\x87R" + RUN + b"\x85R.",
    "scalar_object": name("numpy.core.multiarray", "scalar")
    + name("numpy", "dtype") + text("O8") + b"\x85R" + b"C\x08" + b"A" * 8 + b"\x86R.",
    "array_object": name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01O\x87R.",
    "nested": name("pickle", "loads") + b"C\x1dcos\nsystem\n(S'touch pwned'\ntR." + b"\x85R.",
    "codecs": name("_codecs", "encode") + text("x") + text("rot13") + b"\x86R.",
    "runpy": name("runpy", "run_path") + text("pwned.py") + b"\x85R.",
    "import": name("importlib", "import_module") + text("antigravity") + b"\x85R.",
    "persistent": text("module") + b"Q.",
    "persistent_text": b"Pmodule\n.",
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "memo_text": b"Np2147483647\n.",
    "long_text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "long_bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "long_number": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N",
    "digits": b"I" + b"9" * 100_000 + b"\n.",
    "bytearray": name("builtins", "bytearray") + b"\x8a\x05\x00\x00\x00\x00\x08\x85R.",
    "repeated": text("x" * 100_000) + b"q\x000]" + b"".join(
        name("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86Ra" for _ in range(2000)
    ) + b".",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "doubled": b"\x80\x02]q\x00" + b"".join(
        b"0]" + b"h" + bytes([i]) + b"a" + b"h" + bytes([i]) + b"a" + b"q" + bytes([i + 1]) for i in range(60)
    ) + b".",
    "deep": b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "deep_key": b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",
    "empty_stack": b"\x80\x02R.",
    "no_stop": b"\x80\x02N",
    "unknown_opcode": b"\x80\x02\xff.",
}  # fmt: skip
HARMLESS = ("itself", "doubled", "deep")
"""Plain values that are only too many: a reader of annotations may read them, and its user refuses them."""


def torch_zip(body: bytes, path: Path, members: dict[str, bytes] | None = None, **options) -> Path:
    """A zip archive as torch.save makes it, with any pickle in it."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", body)
        for key, content in (members or {}).items():
            archive.writestr(key, content)
    return path


def torch_legacy(body: bytes, path: Path, keys: bytes = b"", storages: bytes = b"") -> Path:
    """A file of torch before 1.6, with any pickle in it."""
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(head) + body + (keys or pickle.dumps([], 2)) + storages)
    return path


def as_value(program: bytes) -> bytes:
    """The program as a value beside a tensor's name, so that nothing but itself is to be refused."""
    return b"\x80\x02}" + text("model") + b"}s" + text("x") + program[:-1] + b"s."


CHECKPOINT_READERS = {
    "read": checkpoint.read,
    "read_any": checkpoint.read_any,
    "load_model": lambda path: api.load_model(None, path),
    "published": read_published,
    "weights": lambda path: read_weights(path, []),
}


@pytest.mark.parametrize("reader", CHECKPOINT_READERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_pickles_in_checkpoints(tmp_path, program, reader):
    for index, body in enumerate((PROGRAMS[program], as_value(PROGRAMS[program]))):
        for make in (torch_zip, torch_legacy):
            refused(CHECKPOINT_READERS[reader], make(body, tmp_path / f"{make.__name__}{index}.pt"))
    raw = tmp_path / "raw.pth"
    raw.write_bytes(PROGRAMS[program])
    refused(CHECKPOINT_READERS[reader], raw)


@pytest.mark.parametrize("program", [key for key in PROGRAMS if key not in HARMLESS])
def test_pickles_of_annotations(tmp_path, program):
    path = tmp_path / "a.pickle"
    path.write_bytes(PROGRAMS[program])
    if program not in ("build_object", "repeated"):
        refused(load_plain, path)
    refused(load_layers, path)
    annotations = tmp_path / "train"
    for kind, file in ((OpenImagesClicks, "train/train-annotations-object-segmentation_clean.pkl"),
                       (COCOLVISClicks, "train/hannotation.pickle"),
                       (ADE20KClicks, "train-annotations-object-segmentation.pkl")):  # fmt: skip
        annotations.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(PROGRAMS[program])
        refused(kind, str(tmp_path))


@pytest.mark.parametrize("program", HARMLESS)
def test_annotations_that_never_end(tmp_path, program):
    (tmp_path / "a.pickle").write_bytes(PROGRAMS[program])
    refused(load_layers, tmp_path / "a.pickle")


def test_layers_of_numbers(tmp_path):
    """bytes(10**10) would be as many zeros."""
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(([10**10], [(0, 1)])))
    refused(load_layers, tmp_path / "a.pickle", match="a layer is a int")


def test_stand_ins_stay_as_they_are(tmp_path):
    """What a file does to the stand-ins would hold for every file that is read later."""
    names = [("numpy", "ndarray"), ("builtins", "list"), ("collections", "defaultdict"), ("numpy", "dtype")]
    for module, attribute in names:
        for value in ("__call__", "__new__", "content", "__setstate__"):
            body = name(module, attribute) + b"N}" + text(value) + text("x") + b"s\x86b."
            (tmp_path / "a.pickle").write_bytes(body)
            refused(load_layers, tmp_path / "a.pickle")
    layer = np.frombuffer(b"png", np.uint8)
    (tmp_path / "b.pickle").write_bytes(pickle.dumps(([layer], [(0, 1)])))
    assert load_layers(tmp_path / "b.pickle") == ([b"png"], [(0, 1)])
    assert load_published(tmp_path / "b.pickle")[1] == [(0, 1)]


# archives of torch ---------------------------------------------------------------------------------------------------


def storage_id(kind: str, key: str, count: int) -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + pickle.dumps(count, 2)[2:-1] + b"tQ"


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor(count: int, offset: int, size: tuple, stride: tuple, kind: str = "FloatStorage") -> bytes:
    shapes = [b"(" + b"".join(map(number, shape)) + b"t" for shape in (size, stride)]
    args = b"(" + storage_id(kind, "0", count) + number(offset) + b"".join(shapes) + b"\x89" + ORDERED + b")Rt"
    return b"\x80\x02}" + text("model") + b"}" + text("w") + TENSOR + args + b"Rss."


BAD_TENSORS = {
    "beyond": tensor(4, 0, (5,), (1,)),
    "offset": tensor(4, 4, (1,), (1,)),
    "negative_offset": tensor(4, -1, (1,), (1,)),
    "negative_stride": tensor(4, 3, (4,), (-1,)),
    "repeated": tensor(4, 0, (1 << 20, 1 << 20), (0, 0)),
    "huge": tensor(4, 0, (1 << 61, 8), (1 << 61, 1)),
    "more_than_stored": tensor(1 << 40, 0, (4,), (1,)),
    "text_size": tensor(4, 0, (4,), (1,)).replace(b"K\x04t", b"Nt"),
    "other_axes": tensor(4, 0, (2, 2), (1,)),
    "other_kind": tensor(4, 0, (4,), (1,), "DoubleStorage"),
    "unknown_kind": tensor(4, 0, (4,), (1,), "EvilStorage"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_beyond_their_storage(tmp_path, case):
    floats = np.ones(4, np.float32).tobytes()
    archive = torch_zip(BAD_TENSORS[case], tmp_path / "a.pt", {"a/data/0": floats})
    keys = pickle.dumps(["0"], 2)
    old = torch_legacy(BAD_TENSORS[case], tmp_path / "b.pt", keys, struct.pack("<q", 4) + floats)
    for reader in CHECKPOINT_READERS.values():
        for path in (archive, old):
            refused(reader, path)


def test_whole_files_are_read(tmp_path):
    """The makers of these tests make files that are read where nothing is wrong with them."""
    floats, body = np.arange(4, dtype=np.float32).tobytes(), tensor(4, 1, (3,), (1,))
    archive = torch_zip(body, tmp_path / "a.pt", {"a/data/0": floats})
    old = torch_legacy(body, tmp_path / "b.pt", pickle.dumps(["0"], 2), struct.pack("<q", 4) + floats)
    for path in (archive, old):
        assert checkpoint.read(path)["model"]["w"].tolist() == [1, 2, 3]


NEW_TYPES = ("torch.uint16", "torch.float8_e4m3fn")


def test_every_type_of_tensor_comes_back(tmp_path):
    content = {
        "model": {
            str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
            for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
                          torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16,
                          torch.float8_e4m3fn)
        },
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.99), "lr": 1e-3}]},
        "segkit_version": "0", "size": torch.Size([1, 2]), "dtype": torch.float32, "bytes": b"abc", "none": None,
        "big": 1 << 80,
    }  # fmt: skip
    wide = torch.arange(12.0).reshape(3, 4)
    content["model"] |= {"turned": wide.T, "part": wide[1:, ::2], "empty": torch.zeros(0, 3), "one": torch.tensor(2.0)}
    for path, is_zip in ((tmp_path / "a.pt", True), (tmp_path / "b.pt", False)):
        if not is_zip:  # torch cannot read these of its own
            content["model"] = {k: v for k, v in content["model"].items() if k not in NEW_TYPES}
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        found, expected = checkpoint.read(path), torch.load(path, weights_only=True)
        for key, value in expected["model"].items():
            read = found["model"][key]
            assert read.dtype == value.dtype and read.stride() == value.stride(), key
            wide = torch.complex64 if value.is_complex() else torch.float64
            assert read.shape == value.shape and torch.equal(read.to(wide), value.to(wide)), key
        assert {k: v for k, v in found.items() if k not in ("model", "optimizer")} == {
            k: v for k, v in expected.items() if k not in ("model", "optimizer")
        }
        assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]


ARCHIVES = {
    "torchscript": dict(members={"a/constants.pkl": b"\x80\x02).", "a/code/__torch__.py": b"x"}),
    "code": dict(members={"a/code/__torch__.py": b"x"}),
    "compressed": dict(compression=zipfile.ZIP_DEFLATED),
    "traversal": dict(members={"../../pwned": b"x", "/tmp/pwned": b"x", "a/data/0": b"1"}),
    "two": dict(members={"b/data.pkl": b"\x80\x02}."}),
    "bomb": dict(members={"a/data/0": b"\0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(tmp_path, case):
    body = tensor(1000, 0, (1000,), (1,))
    path = torch_zip(body, tmp_path / "a.pt", **ARCHIVES[case])
    for reader in CHECKPOINT_READERS.values():
        refused(reader, path, match="TorchScript" if case in ("torchscript", "code") else None)
    (tmp_path / "c.py").write_text("model = dict(num_classes=1, backbone=dict(type='PlainEncoder'))\n")
    assert main(["convert", str(path), str(tmp_path / "o.pt"), "--config", str(tmp_path / "c.py")]) == 2
    assert not (tmp_path / "o.pt").exists()


def test_overlapping_parts_of_an_archive(tmp_path):
    """A thousand names for the same bytes."""
    path = torch_zip(tensor(4, 0, (4,), (1,)), tmp_path / "a.pt", {"a/data/0": b"\0" * 1_000_000})
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    entries = content[start : content.index(b"PK\x05\x06")]
    last = entries[entries.rindex(b"PK\x01\x02") :]
    more = b"".join(last.replace(b"a/data/0", b"a/dat%03d" % i) for i in range(900))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 902, 902, len(entries + more), start, 0)
    path.write_bytes(content[:start] + entries + more + end)
    refused(checkpoint.read, path)


def test_tar_archives(tmp_path):
    path = tmp_path / "a.pt"
    with tarfile.open(path, "w") as archive:
        for member in ("../../pwned", "/tmp/pwned", "storages", "tensors", "pickle"):
            info = tarfile.TarInfo(member)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    for reader in CHECKPOINT_READERS.values():
        refused(reader, path)


def test_a_network_as_an_object_writes_no_source(tmp_path):
    """A persistent id "module" made torch.load write the file's text to a path of the file's choice."""
    function = name("torch._utils", "_rebuild_parameter")
    changed = (
        function + b"N}(" + text("__name__") + text(str(tmp_path / "pwned")) + text("dump_patches") + b"\x88u\x86b0"
    )
    body = b"\x80\x02" + changed + b"(" + text("module") + function + text("x.py") + text("text") + b"tQ0}."
    for reader in CHECKPOINT_READERS.values():
        refused(reader, torch_legacy(body, tmp_path / "a.pt"))


def damaged(content: bytes, count: int) -> list[bytes]:
    """The content cut off, and with bits turned, at drawn places."""
    rng = np.random.default_rng(0)
    made = [content[:length] for length in rng.integers(0, len(content), count).tolist()]
    for _ in range(count):
        turned = bytearray(content)
        for position in rng.integers(0, len(content), 3).tolist():
            turned[position] ^= 1 << int(rng.integers(8))
        made.append(bytes(turned))
    return made


def harmless(read, path: Path) -> None:
    """A damaged file may be read where the damage hits nothing that counts, and fails in one way alone."""
    start = time.process_time()
    try:
        read(path)
    except REFUSALS as error:
        assert len(str(error)) < LETTERS
    assert time.process_time() - start < SECONDS


def test_damaged_checkpoints(tmp_path):
    content = {"model": {"w": torch.rand(20), "b": torch.rand(3)}, "classes": ["a"], "config": {"model": {"a": 1}}}
    torch.save(content, tmp_path / "zip.pt")
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    checkpoint.save(tmp_path / "s.safetensors", content)
    for file in ("zip.pt", "old.pt", "s.safetensors"):
        path = tmp_path / file
        for made in damaged(path.read_bytes(), 60):
            path.write_bytes(made)
            harmless(checkpoint.read, path)
            harmless(read_published, path) if file != "s.safetensors" else None


def test_turned_bits_in_weights_are_found(tmp_path):
    torch.save({"model": {"w": torch.full((1000,), 1.5)}}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[content.index(np.full(10, 1.5, np.float32).tobytes()) + 400] ^= 4
    (tmp_path / "a.pt").write_bytes(bytes(content))
    refused(checkpoint.read, tmp_path / "a.pt", match="damaged")


# safetensors ---------------------------------------------------------------------------------------------------------


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    words = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(words) if length is None else length) + words + data


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
SAFETENSORS = {
    "huge_header": safetensors({"w": ENTRY}, length=1 << 62),
    "long_header": safetensors({"w": ENTRY}, length=99_000_000),
    "offsets": safetensors({"w": {**ENTRY, "data_offsets": [0, 1 << 40]}}, b"1234"),
    "backwards": safetensors({"w": {**ENTRY, "data_offsets": [4, 0]}}, b"1234"),
    "shape": safetensors({"w": {**ENTRY, "shape": [1 << 62, 1 << 62]}}, b"1234"),
    "overlap": safetensors({"w": ENTRY, "v": ENTRY}, b"1234"),
    "dtype": safetensors({"w": {**ENTRY, "dtype": "EVIL"}}, b"1234"),
    "deep": safetensors(b"[" * 100_000),
    "config_text": safetensors({"__metadata__": {"config": "{"}, "w": ENTRY}, b"1234"),
    "config_list": safetensors({"__metadata__": {"config": "[1]"}, "w": ENTRY}, b"1234"),
    "config_deep": safetensors({"__metadata__": {"config": "[" * 50_000}, "w": ENTRY}, b"1234"),
    "config_wide": safetensors({"__metadata__": {"config": json.dumps({"a": [1] * 200_000})}, "w": ENTRY}, b"1234"),
    "config_digits": safetensors({"__metadata__": {"config": "9" * 50_000}, "w": ENTRY}, b"1234"),
    "classes": safetensors({"__metadata__": {"classes": '{"a": 1}'}, "w": ENTRY}, b"1234"),
    "palette": safetensors({"__metadata__": {"palette": "[[1, 2]]"}, "w": ENTRY}, b"1234"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(tmp_path, case):
    path = tmp_path / "a.safetensors"
    path.write_bytes(SAFETENSORS[case])
    refused(checkpoint.read, path)
    refused(lambda file: api.load_model(None, file), path)


# configs in checkpoints ----------------------------------------------------------------------------------------------

EVIL = {"type": "subprocess:getoutput", "cmd": "touch pwned"}
NAME = "subprocess:getoutput"
ENCODER = {"type": "PlainEncoder", "channels": [4, 6, 8]}
MODEL = {"num_classes": 2, "backbone": ENCODER, "head": {"type": "UNetHead", "channels": [6, 4]}}
SHAPES = {"type": "Shapes", "split": "test"}
CONFIGS = {
    "model.backbone.type": {"model": {**MODEL, "backbone": EVIL}},
    "model.type": {"model": {**MODEL, "type": NAME}},
    "model.head.type": {"model": {**MODEL, "head": EVIL}},
    "model.aux.0.type": {"model": {**MODEL, "aux": [EVIL]}},
    "model.backbone.pretrained": {"model": {**MODEL, "backbone": {"type": "Timm", "pretrained": NAME}}},
    "model.backbone.name": {"model": {**MODEL, "backbone": {"type": "Timm", "name": "hf-hub:someone/model"}}},
    "model.stages.0.backbone.type": {"model": {"type": "ClickStages", "stages": [{**MODEL, "backbone": EVIL}]}},
    "losses.0.type": {"losses": [EVIL]},
    "losses.0.loss.type": {"losses": [{"type": "OHEM", "loss": EVIL}]},
    "weighting.type": {"weighting": EVIL},
    "runner.type": {"runner": EVIL},
    "runner.losses.0.type": {"runner": {"type": "Incremental", "losses": [EVIL]}},
    "hooks.0.type": {"hooks": [EVIL]},
    "metrics.0.type": {"metrics": [EVIL]},
    "optimizer.type": {"optimizer": EVIL},
    "schedule.type": {"schedule": EVIL},
    "train.dataset.type": {"train": {"dataset": EVIL}},
    "train.sampler.type": {"train": {"dataset": SHAPES, "sampler": EVIL}},
    "train.transforms.0.transforms.0.type": {"train": {"transforms": [{"type": "UntilObject", "transforms": [EVIL]}]}},
    "test.dataset.type": {"test": {"dataset": EVIL}},
    "test.dataset.datasets.0.type": {"test": {"dataset": {"type": "Concat", "datasets": [EVIL]}}},
    "test.transforms.0.type": {"test": {"dataset": SHAPES, "transforms": [EVIL]}},
    "test.first.dataset.type": {"test": {"first": {"dataset": EVIL}}},
    "inference.refiners.0.type": {"inference": {"refiners": [EVIL]}},
    "test.first.inference.refiners.0.type": {"test": {"first": {"dataset": SHAPES, "inference": {"refiners": [EVIL]}}}},
    "unknown.0.1.type": {"unknown": [[0, EVIL]]},
}  # fmt: skip


@pytest.mark.parametrize("at", CONFIGS)
def test_configs_in_files_name_registered_classes_alone(tmp_path, at, capsys):
    config = {"model": MODEL, "test": {"dataset": SHAPES}, **CONFIGS[at]}
    content = {"model": {"w": torch.ones(1)}, "config": config, "classes": ["a", "b"], "palette": [[0] * 3, [1] * 3]}
    for file in ("a.pt", "a.safetensors"):
        path = tmp_path / file
        checkpoint.save(path, content)
        message = refused(api.load_model, None, path, match=f"at {at}, code outside of segkit.*--trust")
        assert NAME in message or "hf-hub" in message
        refused(api.evaluate, path)
    assert main(["test", "none", str(path)]) == 2 and "--trust" in capsys.readouterr().err


def test_nothing_is_imported_before_the_refusal(tmp_path, monkeypatch):
    """Importing a module runs it."""
    (tmp_path / "evil_module.py").write_text("open('pwned', 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"model": {**MODEL, "backbone": {"type": "evil_module:Evil"}}}
    torch.save({"model": {"w": torch.ones(1)}, "config": config}, tmp_path / "a.pt")
    refused(api.load_model, tmp_path / "a.pt")


def test_trust_is_the_one_way(tmp_path, unharmed):
    config = {"model": {**MODEL, "backbone": {"type": "pathlib:Path"}}}
    torch.save({"model": {"w": torch.ones(1)}, "config": config}, tmp_path / "a.pt")
    refused(api.load_model, tmp_path / "a.pt", match="--trust")
    text = refused(lambda path: api.load_model(path, trust=True), tmp_path / "a.pt")
    assert "--trust" not in text


@pytest.mark.parametrize("words", ["test", "predict", "convert", "from", "init", "resume"])
def test_source_in_a_file_counts_for_nothing(tmp_path, words, capsys):
    """A file that only says it is RITM's, beside a config of the user's own."""
    data = "dict(batch_size=2, workers=0, dataset=dict(type='Shapes', split='train', length=4, instances=False))"
    own = tmp_path / "own.py"
    own.write_text(
        f"model = {MODEL}\nlosses = [dict(type='CrossEntropy', on='logits', target='mask')]\ntrain = {data}\n"
        f"test = {data}\noptimizer = dict(type='SGD', lr=1e-3)\nloop = dict(steps=1)\n"
    )
    config = {"model": {**MODEL, "backbone": EVIL}}
    path = str(tmp_path / "a.pt")
    torch.save({"model": {"w": torch.ones(1)}, "source": "ritm", "config": config}, path)
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 8, 3), np.uint8))
    out = str(tmp_path / "out")
    lines = {
        "test": ["test", str(own), path],
        "predict": ["predict", str(own), path, str(tmp_path / "x.png"), "--out", out],
        "convert": ["convert", path, str(tmp_path / "o.pt"), "--config", str(own)],
        "from": ["convert", path, str(tmp_path / "o.pt"), "--from", "ritm"],
        "init": ["train", str(own), "--work-dir", out, "--cfg-options", f"init={{'path':'{path}'}}"],
        "resume": ["train", str(own), "--work-dir", out, "--resume", path],
    }
    assert main(lines[words]) == 2
    assert len(capsys.readouterr().err) < LETTERS


BAD_CONFIGS = {
    "list": [1], "text": "x", "numbers": {"model": 5}, "tensor": {"model": torch.ones(1)}, "keys": {5: MODEL},
    "rows": {"model": MODEL, "optimizer": {"type": "SGD", "groups": [5]}}, "backbone": {"model": {"backbone": 3}},
    "channels": {"model": {**MODEL, "backbone": {"type": "PlainEncoder", "channels": "abc"}}},
    "test": {"model": MODEL, "test": {"a": 5}}, "long": {"model": {**MODEL, "x" * 100_000: "y" * 100_000}},
    "wide": {"model": {**MODEL, "aux": [{}] * 150_000}},
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configs_of_other_types(tmp_path, case):
    torch.save({"model": {"w": torch.ones(1)}, "config": BAD_CONFIGS[case]}, tmp_path / "a.pt")
    refused(api.load_model, tmp_path / "a.pt")


def test_configs_that_share_their_values(tmp_path):
    value: list = [1]
    for _ in range(60):
        value = [value, value]
    torch.save({"model": {"w": torch.ones(1)}, "config": {"model": value}}, tmp_path / "a.pt")
    refused(checkpoint.read, tmp_path / "a.pt")


YAML = {
    "python": "model: !!python/object/apply:os.system ['touch pwned']\n",
    "python_name": "model: !!python/name:os.system\n",
    "python_module": "model: !!python/module:os\n",
    "python_new": "model: !!python/object/new:subprocess.Popen [[touch, pwned]]\n",
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl")),
    "itself": "model: &a [*a]\n",
    "deep": "model: " + "[" * 20_000,
    "digits": "model: " + "9" * 10_000 + "\n",
    "list": "- a\n- b\n",
    "keys": "5: a\n",
    "letters": "model: [" + "&" * 3000 + "]\n",
    "bytes": "model: \xff".encode("latin-1").decode("latin-1"),
    "unhashable": "? [a, b]\n: c\n",
}


@pytest.mark.parametrize("case", YAML)
def test_yaml(tmp_path, case):
    path = tmp_path / "c.yaml"
    path.write_bytes(YAML[case].encode("latin-1"))
    refused(load_config, path)


# pictures ------------------------------------------------------------------------------------------------------------


def png(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    """A PNG whose header states any size; its content is a few compressed zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", b"\0" * 30) if color == 3 else b""
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + body + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0" * 8


SIDE = 30_000
BOMBS = {
    "png": png(SIDE, SIDE),
    "palette": png(SIDE, SIDE, 8, 3),
    "bits": png(SIDE, SIDE, 1, 0),
    "largest": png((1 << 31) - 1, (1 << 31) - 1),
    "gif": b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + b"\0\0\0;",
    "bmp": b"BM" + b"\0" * 12 + struct.pack("<IiiHHI", 40, SIDE, -SIDE, 1, 8, 1) + b"\0" * 100,
    "tiff": tiff(SIDE, SIDE),
    "webp": b"RIFF\x16\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\xff\xff" * 2 + b"\0" * 20,
    "pgm": b"P5\n%d %d\n255\n" % (SIDE, SIDE) + b"\0" * 10,
    "jpeg": b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00" + b"\0" * 50 + b"\xff\xd9",
    "jp2": b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">IIII", SIDE, SIDE, 0, 0) + b"\0" * 40,
}
PICTURE_READERS = {
    "image": read_image,
    "bands": lambda path: read_image(path, 5),
    "mask": read_mask,
    "colors": read_colors,
}


@pytest.mark.parametrize("reader", PICTURE_READERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_pictures_that_would_fill_the_memory(tmp_path, bomb, reader):
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(BOMBS[bomb])
        text = refused(PICTURE_READERS[reader], path)
        assert "SEGKIT_MAX_PIXELS" in text or "JPEG mask" in text


def test_the_limit_is_the_users(tmp_path, monkeypatch):
    Image.new("P", (300, 200)).save(tmp_path / "a.png")
    monkeypatch.setenv("SEGKIT_MAX_PIXELS", "59999")
    refused(read_mask, tmp_path / "a.png", match="300 x 200 pixels, more than 59,999.*SEGKIT_MAX_PIXELS")
    monkeypatch.setenv("SEGKIT_MAX_PIXELS", "60000")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_mask(tmp_path / "a.png").shape == (200, 300) and Image.MAX_IMAGE_PIXELS == 10
    for wrong in ("none", "-1", "0"):
        monkeypatch.setenv("SEGKIT_MAX_PIXELS", wrong)
        refused(read_mask, tmp_path / "a.png", match="must be a whole number above 0")


OTHER_FORMATS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned) (w) file\nshowpage\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "text": b"hello",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "fits": b"SIMPLE  =                    T" + b" " * 3000,
    "psd": b"8BPS\0\1" + b"\0" * 100,
    "zeros": b"\0" * 1000,
}


@pytest.mark.parametrize("reader", PICTURE_READERS)
@pytest.mark.parametrize("case", OTHER_FORMATS)
def test_other_formats_reach_no_decoder(tmp_path, case, reader):
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(OTHER_FORMATS[case])
        refused(PICTURE_READERS[reader], path)


def test_damaged_pictures(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (13, 17, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp", "ppm"):
        image.save(tmp_path / f"a.{suffix}")
        content = (tmp_path / f"a.{suffix}").read_bytes()
        for made in damaged(content, 15):
            (tmp_path / f"a.{suffix}").write_bytes(made)
            for reader in PICTURE_READERS.values():
                harmless(reader, tmp_path / f"a.{suffix}")


def test_files_that_are_none(tmp_path):
    """A FIFO would block for ever, a device never ends."""
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(tmp_path / "socket.png"))
    readers = [
        *PICTURE_READERS.values(),
        *CHECKPOINT_READERS.values(),
        load_array,
        load_plain,
        load_layers,
        load_config,
    ]
    readers += [read_sbd, read_instances, lambda path: read_lines(path, "a list"), lambda path: COCOInstances(
        annotations=str(path), images=str(tmp_path))]  # fmt: skip
    for file in ("fifo", "folder", "zero", "socket"):
        for suffix in ("png", "pt", "safetensors", "yaml", "py"):
            path = tmp_path / f"{file}.{suffix}"
            if suffix != "png":
                path.symlink_to(tmp_path / f"{file}.png")
            for reader in readers:
                refused(reader, path)
    server.close()


def test_files_larger_than_the_limit(tmp_path):
    for suffix in ("png", "npy", "mat", "json", "pickle", "txt", "yaml"):
        with open(tmp_path / f"a.{suffix}", "wb") as file:
            file.truncate(1 << 40)
    for reader, suffix in ((read_mask, "png"), (load_array, "npy"), (read_sbd, "mat"), (load_plain, "pickle"),
                           (load_config, "yaml"), (lambda path: read_lines(path, ""), "txt")):  # fmt: skip
        refused(reader, tmp_path / f"a.{suffix}", match="bytes; at most")


# arrays --------------------------------------------------------------------------------------------------------------


def npy(header: str, data: bytes = b"") -> bytes:
    words = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words + data


ARRAYS = {
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", PROGRAMS["reduce"]),
    "pickle": PROGRAMS["reduce"],
    "records": npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", PROGRAMS["reduce"]),
    "bomb": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}", b"12345678"),
    "product": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
    "negative": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", b"12345678"),
    "code": npy("{'descr': __import__('os').system('touch pwned'), 'fortran_order': False, 'shape': (1,)}"),
    "deep": npy("(" * 5000),
    "version": b"\x93NUMPY\x09\x00" + b"\0" * 100,
    "cut": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4,)}", b"1234"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(tmp_path, case):
    path = tmp_path / "train-0.npy"
    path.write_bytes(ARRAYS[case])
    for reader in (load_array, read_image, read_mask):
        refused(reader, path)
    refused(lambda folder: read_lists(folder, 1, 10), tmp_path)


def test_archives_of_arrays(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, a=np.ones(3))
    refused(load_array, tmp_path / "a.npy")


def mat_element(kind: int, content: bytes) -> bytes:
    padding = b"" if kind == 15 else b"\0" * (-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + padding


def mat_array(kind: int, size: tuple[int, ...], rest: bytes, name: bytes = b"GTcls") -> bytes:
    lengths = struct.pack(f"<{len(size)}i", *size)
    parts = mat_element(6, struct.pack("<II", kind, 0)) + mat_element(5, lengths) + mat_element(1, name)
    return mat_element(14, parts + rest)


MAT = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
MATS = {
    "cells": MAT + mat_array(1, (1 << 30, 1), b""),
    "cells_packed": MAT + mat_element(15, zlib.compress(mat_array(1, (1 << 30, 1), b""))),
    "negative": MAT + mat_array(6, (-5, 3), b""),
    "records": MAT + mat_array(2, (1 << 15, 1 << 15), b""),
    "axes": MAT + mat_array(6, (1,) * 200, b""),
    "object": MAT + mat_array(3, (1, 1), b""),
    "function": MAT + mat_array(16, (1, 1), b""),
    "opaque": MAT + mat_array(17, (1, 1), b""),
    "bomb": MAT + mat_element(15, zlib.compress(b"\0" * (300 << 20), 1)),
    "numbers": MAT + mat_array(6, (1, 1), mat_element(9, b"\0" * 8)),
    "other": MAT + mat_array(6, (1, 1), mat_element(9, b"\0" * 8), b"other"),
    "cut": MAT + struct.pack("<II", 14, 1 << 31),
    "deep": MAT + mat_element(1, b""),
    "hdf": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n",
    "text": b"hello",
}


@pytest.mark.parametrize("case", MATS)
def test_matlab_files(tmp_path, case):
    (tmp_path / "index_ade20k.mat").write_bytes(MATS[case])
    for reader in (read_sbd, read_instances):
        refused(reader, tmp_path / "index_ade20k.mat")
    refused(lambda root: prepare_ade20k(root, split="train"), tmp_path)


def test_damaged_matlab_files(tmp_path):
    from scipy.io import savemat

    for is_packed in (False, True):
        mask = {"GTcls": {"Segmentation": np.ones((5, 7), np.uint8), "Boundaries": ["a", "b"]}}
        savemat(tmp_path / "a.mat", mask, do_compression=is_packed)
        assert read_sbd(str(tmp_path / "a.mat")).shape == (5, 7)
        for made in damaged((tmp_path / "a.mat").read_bytes(), 40):
            (tmp_path / "a.mat").write_bytes(made)
            harmless(read_sbd, tmp_path / "a.mat")


# annotation files ----------------------------------------------------------------------------------------------------

IMAGE = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
OBJECT = {
    "id": 1,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 1, 4, 4],
    "area": 16,
    "segmentation": [[1, 1, 5, 1, 5, 5]],
}


def coco(image: dict | None = None, entry: dict | None = None) -> str:
    categories = [{"id": 1, "name": "a", "isthing": 1}]
    return json.dumps({"images": [{**IMAGE, **(image or {})}], "annotations": [{**OBJECT, **(entry or {})}],
                       "categories": categories})  # fmt: skip


COCO = {
    "up": coco({"file_name": "../../secret.png"}),
    "absolute": coco({"file_name": "/etc/hostname"}),
    "hidden_up": coco({"file_name": "a/../../secret.png"}),
    "backslash": coco({"file_name": "..\\..\\secret.png"}),
    "drive": coco({"file_name": "C:\\secret.png"}),
    "zero": coco({"file_name": "a\0.png"}),
    "number": coco({"file_name": 5}),
    "huge_image": coco({"height": 10**9, "width": 10**9}, {"area": 1}),
    "negative_image": coco({"height": -5}),
    "text_image": coco({"height": "x" * 100_000}),
    "nothing": "",
    "deep": "[" * 200_000,
    "objects_deep": '{"a":' * 100_000,
    "digits": '{"images": ' + "9" * 10_000 + "}",
    "cut": coco()[:100],
    "list": "[]",
    "long_text": json.dumps("x" * 10_000_000),
    "long_id": coco(None, {"image_id": "x" * 1_000_000}),
    "long_box": coco(None, {"bbox": [1] * 1_000_000}),
}
OUTLINES = {
    "far": [[0, 0, 1e9, 0, 1e9, 1e9]],
    "infinite": [[0, 0, float("inf"), 0, 5, 5]],
    "nan": [[0, 0, float("nan"), 0, 5, 5]],
    "winding": [[0, 0, 1e6, 1e6] * 1000],
    "counts": {"size": [8, 8], "counts": [0, 10**9]},
    "negative": {"size": [8, 8], "counts": [-5, 69]},
    "size": {"size": [10**6, 10**6], "counts": "0"},
    "text": {"size": "ab", "counts": 5},
    "broken": {"size": [8, 8], "counts": "\x7f" * 100},
    "number": 5,
}


def coco_sets(folder: Path) -> list:
    """Reads everything that the data sets of annotation files read of an image."""
    file, rng = str(folder / "a.json"), np.random.default_rng(0)

    def instances():
        dataset = COCOInstances(annotations=file, images=str(folder), boxes_only=False)
        dataset.sample(0, rng)

    def clicks():
        COCOClicks(annotations=file, images=str(folder)).sample(0, rng)

    return [instances, clicks]


@pytest.mark.parametrize("case", COCO)
def test_annotation_files(tmp_path, case):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.json").write_text(COCO[case])
    for read in coco_sets(tmp_path)[: 1 if case == "long_box" else 2]:  # clicks need no boxes
        refused(read)


@pytest.mark.parametrize("case", OUTLINES)
def test_outlines_that_cannot_be_drawn(tmp_path, case):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.json").write_text(coco(None, {"segmentation": OUTLINES[case]}))
    for read in coco_sets(tmp_path):
        refused(read)
    folder = tmp_path / "lvis" / "train"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.jpg"), np.full((8, 8, 3), 9, np.uint8))
    (folder / "lvis_train.json").write_text((tmp_path / "a.json").read_text())
    harmless(lambda root: LVISClicks(str(root)).sample(0, np.random.default_rng(0)), folder.parent)


def test_outside_is_asked_for(tmp_path):
    """Annotation files of one's own may name photographs that lie elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    cv2.imwrite(str(tmp_path / "elsewhere" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images").mkdir()
    for file_name in (str(tmp_path / "elsewhere" / "a.png"), "../elsewhere/a.png"):
        (tmp_path / "a.json").write_text(coco({"file_name": file_name}))
        args = dict(annotations=str(tmp_path / "a.json"), images=str(tmp_path / "images"))
        for kind in (COCOInstances, COCOClicks):
            refused(partial(kind, **args), match="outside of .*set outside=True")
            assert kind(**args, outside=True).image(0).shape == (8, 8, 3)


def test_names_in_pickles_and_tables_stay_inside(tmp_path):
    up = "../../secret"
    split = tmp_path / "train"
    split.mkdir()
    masks = {"image_id_to_masks": {up: ["m.png"]}, "dataset_samples": [up]}
    (split / "train-annotations-object-segmentation_clean.pkl").write_bytes(pickle.dumps(masks))
    refused(OpenImagesClicks, str(tmp_path), match="outside of")
    masks = {"image_id_to_masks": {"a": [f"{up}.png"]}, "dataset_samples": ["a"]}
    (split / "train-annotations-object-segmentation_clean.pkl").write_bytes(pickle.dumps(masks))
    refused(OpenImagesClicks, str(tmp_path), match="outside of")
    (split / "hannotation.pickle").write_bytes(pickle.dumps({up: {"num_instance_masks": 1, "hierarchy": {0: None}}}))
    refused(COCOLVISClicks, str(tmp_path), match="outside of")
    huge = {"a": {"num_instance_masks": 10**12, "hierarchy": {0: None}}}
    (split / "hannotation.pickle").write_bytes(pickle.dumps(huge))
    refused(COCOLVISClicks, str(tmp_path))
    for entry in ({"folder": up, "layers": [{"mask_name": "m.png", "stuff_instances": []}]},
                  {"folder": "f", "layers": [{"mask_name": "/etc/hostname", "stuff_instances": []}]}):  # fmt: skip
        file = tmp_path / "train-annotations-object-segmentation.pkl"
        file.write_bytes(pickle.dumps({"a": entry}))
        refused(ADE20KClicks, str(tmp_path), match="outside of")
    (split / "train-annotations-object-segmentation_clean.pkl").unlink()
    table = f"ImageID,MaskPath\n{up},m.png\n"
    (split / "train-annotations-object-segmentation.csv").write_text(table)
    refused(lambda root: prepare_open_images(root, split="train"), tmp_path, match="outside of")
    panoptic = {"categories": [{"id": 1, "isthing": 1}], "annotations": [
        {"file_name": "/etc/hostname", "segments_info": [{"id": 1, "category_id": 1}]}]}  # fmt: skip
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "panoptic_train2017.json").write_text(json.dumps(panoptic))
    refused(COCOPanopticClicks, str(tmp_path), match="outside of")


# the places that open files ------------------------------------------------------------------------------------------

OPENERS = {
    *("open", "os.open", "io.open", "os.fdopen", "torch.load", "torch.jit.load", "np.load", "np.fromfile", "np.memmap"),
    *("np.genfromtxt", "np.loadtxt", "np.lib.format.open_memmap", "yaml.load", "yaml.safe_load", "yaml.full_load"),
    *("yaml.unsafe_load", "json.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "zipfile.ZipFile"),
    *("tarfile.open", "cv2.imread", "cv2.imdecode", "cv2.VideoCapture", "Image.open", "loadmat", "safe_open"),
    *("load_file", "h5py.File", "tifffile.TiffFile", "tifffile.imread", "ElementTree.parse", "mmap.mmap", "csv.reader"),
    *("csv.DictReader", "torch.from_file", "torch.hub.load", "shelve.open", "marshal.loads", "joblib.load", "eval"),
    *("pydicom.dcmread", "filereader.read_file_meta_info"),
    *("exec", "TiffImageFile", "JpegImageFile"),
}  # fmt: skip
METHODS = {"read_text", "read_bytes", "open"}
REVIEWED = {
    "segkit/files.py": "the policy itself",
    "segkit/readers/torch_file.py": "parts of an archive by open_regular; safe_open after it",
    "segkit/readers/pickles.py": "InertUnpickler, after end_of_pickle",
    "segkit/readers/archives.py": "zip and tar of open_regular; all names, links and sizes are checked first",
    "segkit/readers/arrays.py": "loadmat and .npz of bytes, with checks of all sizes",
    "segkit/readers/yaml_file.py": "a safe loader on read_text, then check_plain",
    "segkit/data/files/images.py": "decoders of bytes, after check_pixels",
    "segkit/data/files/tiff_chunks.py": "decoders of single strips and tiles, whose size the tags limit",
    "segkit/data/files/dicom.py": "pydicom on bytes of read_bytes, after the check that they are not packed as a whole",
    "segkit/export/sessions.py": "files that the same command has just written",
    "segkit/data/files/rle_table.py": "a table of read_text",
    "segkit/data/large/png.py": "decodes a few rows at a time, of a width that the header limits",
    "segkit/data/large/tiff.py": "maps a regular file for its tags alone",
    "segkit/data/large/by_rasterio.py": "one of GDAL's readers, named, after open_regular; no code in a VRT",
    "segkit/data/large/by_tifffile.py": "tifffile on a regular file, for compressions that nothing else reads",
    "segkit/data/large/polygons.py": "writes; reads the reference system of the file that segkit has just written",
    "segkit/data/large/spill.py": "writes",
    "segkit/runners/large_band.py": "writes",
    "segkit/data/semantic/salt.py": "a table of read_text",
    "segkit/data/splits/grouping.py": "a table of read_text",
    "segkit/data/formats/known.py": "hands the path to a reader of segkit/data/formats",
    "segkit/data/transforms/color_operations.py": "decodes a JPEG that it has just encoded",
    "segkit/data/prepare/lists.py": "a table by open_regular",
    "segkit/readers/python_config.py": "runs a Python config, which is the user's own code",
    "segkit/data/shards/remote.py": "bytes of an address, to a file of the cache; checked where they are read",
    "segkit/data/shards/cache.py": "locks in the folder of copies, written by segkit",
    "segkit/data/prepare/shards.py": "writes",
    "segkit/data/files/listing.py": "the lock of the cache of this machine",
    "segkit/data/files/flat_index.py": "the cache of this machine, written by segkit",
    "segkit/data/prepare/jobs.py": "the journal of an unfinished conversion, written by segkit",
    "segkit/engine/checkpoint.py": "writes",
    "segkit/engine/sharded_checkpoint.py": "writes",
    "segkit/recipe/machine.py": "what the system says of its processors and memory",
    "segkit/runners/memory.py": "what the system says of its memory",
    "segkit/engine/checksum.py": "compares parts of a regular file with their checksums in small pieces",
    "segkit/engine/folder.py": "the lock in a run's own folder, written by segkit",
    "segkit/engine/hooks.py": "writes",
    "segkit/cli/main.py": "opens /dev/null",
    "segkit/cli/trial_process.py": "what its own trials have printed, as text",
    "segkit/engine/trackers.py": "open() of a tracker is a run; its own id is read by segkit.files",
    "segkit/hub/facts.py": "a table of read_text",
    "segkit/serve/app.py": "the page inside of the package",
    "segkit/annotate/app.py": "the page inside of the package",
    "segkit/annotate/journal.py": "writes; read by open_regular, each line with its checksum",
    "segkit/annotate/outputs.py": "writes",
}
"""Modules that call an opener, and why they may. A new reader goes through segkit/files.py or joins this list."""


def calls_of(path: Path) -> set[str]:
    """Openers that a module calls, or derives a class from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        for called in [node.func] if isinstance(node, ast.Call) else bases:
            words = ast.unparse(called)
            ends = {".".join(words.split(".")[-count:]) for count in (1, 2, 3)}
            is_method = isinstance(called, ast.Attribute) and called.attr in METHODS
            if words in OPENERS or (ends & OPENERS) - {"open", "eval", "exec"} or is_method:
                found.add(words)
    return found


def test_every_place_that_opens_a_file_is_known():
    opening = {str(path.relative_to(ROOT)): calls_of(path) for path in sorted((ROOT / "segkit").rglob("*.py"))}
    opening = {module: calls for module, calls in opening.items() if calls}
    new = {module: sorted(calls) for module, calls in opening.items() if module not in REVIEWED}
    assert not new, f"read by segkit/files.py or segkit/readers, or add to REVIEWED with a reason: {new}"
    assert set(REVIEWED) == set(opening), "a module of REVIEWED opens nothing any more"
