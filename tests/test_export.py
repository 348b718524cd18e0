"""segkit export: what the files give, what they say about themselves, and that none is kept which differs."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._auto_deeplab_cells import SamePool2d
from segkit.archs._mib_pyramid import _means_matrix, window_means
from segkit.archs.hanet import row_positions
from segkit.archs.lraspp import LRASPPMergeHead
from segkit.cli.main import main
from segkit.export import writers
from segkit.export.graph import click_rows, with_divisor
from segkit.export.parts import Request
from segkit.export.run import Job, export_model
from segkit.models.bases import Head, QueryHead
from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.segmentor import Segmentor
from segkit.ops import resizing
from segkit.ops.resizing import resize
from segkit.registry import ConfigError
from segkit.runtime import metadata
from segkit.runtime.metadata import GraphInfo
from tests.archs_table import ROWS
from tests.tiny import TinyBackbone, TinyHead

ROOT = Path(__file__).parents[1]
SIZES = ((33, 47), (64, 96), (40, 20))


class TinyQueries(QueryHead):
    """Three queries, from the means and the pixels of a map."""

    needs = ("image",)
    limit = 2

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classes = nn.Linear(in_channels[-1], 3 * (num_classes + 1))
        self.masks = nn.Conv2d(in_channels[-1], 3, 1)

    def forward(self, features: list[Tensor], image: Tensor) -> dict:
        classes = self.classes(features[-1].mean((2, 3))).unflatten(1, (3, -1))
        return {"class_logits": [4 * classes], "mask_logits": [8 * self.masks(features[-1])], "image": image}


class TinyPyramid(Head):
    """A grid of means and a small map, which are joined at the size of a larger one by a convolution."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        from segkit.models.layers import ConvBNReLU, PyramidPooling

        self.pool = PyramidPooling(in_channels[-1], 4, (1, 2, 3))
        self.fuse = ConvBNReLU(in_channels[-1] + 12, 8)
        self.classifier = nn.Conv2d(8, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        deep = features[-1]
        return {"logits": self.classifier(self.fuse.over_concat([deep, *self.pool(deep)], like=deep))}


def model_of(kind: str, classes: int = 3) -> nn.Module:
    """A tiny network of a kind, with random weights and statistics."""
    torch.manual_seed(1)
    backbone = TinyBackbone()
    channels = backbone.channels
    if kind == "clicks":
        model: nn.Module = ClickSegmentor(1, backbone, TinyHead(channels, 1))
    else:
        head = {"instances": TinyQueries, "pyramid": TinyPyramid}.get(kind, TinyHead)
        model = Segmentor(classes, backbone, head(channels, classes))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    runner = {"instances": "BoxSupervised", "clicks": "Interactive", "overlapping": "MultiLabel"}.get(kind, "Semantic")
    model.config = {"runner": {"type": runner}}
    model.classes, model.palette = [f"class {i}" for i in range(classes)], [[i, 2, 3] for i in range(classes)]
    return model.eval()


def pixels(size: tuple[int, int], batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)


def export(model: nn.Module, out: Path, to: str = "onnx", force: bool = False, **request):
    return export_model(model, Job(to, out, Request(**request), force=force), say=lambda text: None)


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path))


def said(path: Path) -> GraphInfo:
    return metadata.parse(session(path).get_modelmeta().custom_metadata_map[metadata.KEY], str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Exports of the three kinds."""
    folder = tmp_path_factory.mktemp("exports")
    for kind in ("semantic", "instances", "clicks"):
        export(model_of(kind), folder / f"{kind}.onnx")
    return folder


# what comes out ------------------------------------------------------------------------------------------------------
@torch.no_grad()
def test_logits_of_any_size_and_batch(folder):
    model, graph = model_of("semantic"), session(folder / "semantic.onnx")
    for size in SIZES:
        for batch in (1, 2):
            image = pixels(size, batch)
            expected = resize(model(image)["logits"], size=size)
            (found,) = graph.run(["logits"], {"image": image.numpy()})
            assert np.allclose(found, expected, atol=1e-4 * float(expected.std()))
            assert np.array_equal(found.argmax(1), expected.argmax(1))
    assert [entry.name for entry in graph.get_inputs()] == ["image"]
    assert graph.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert graph.get_inputs()[0].type == "tensor(uint8)"


def test_the_file_describes_itself(folder):
    info, proof = said(folder / "semantic.onnx"), json.loads((folder / "semantic.onnx.proof.json").read_text())
    assert (info.task, info.output, info.outputs, info.size) == ("semantic", "logits", ["logits"], None)
    assert info.classes == ["class 0", "class 1", "class 2"] and info.palette[2] == [2, 2, 3]
    assert proof["equal_labels"] == 1.0 and proof["largest_difference"] < 1e-4 and proof["megabytes"] > 0
    assert (
        proof["images"] == 9
        and proof["source"] == "seeded noise"
        and set(proof["milliseconds"])
        == {
            "network",
            "file",
        }
    )
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "nothing half written is left"


def test_each_stage_is_told_as_it_begins(tmp_path, capsys):
    export_model(model_of("clicks"), Job("onnx", tmp_path / "m.onnx", Request()))
    out, err = capsys.readouterr()
    lines = [line.split(" s  ") for line in err.splitlines()]
    seconds = [float(line[0]) for line in lines]
    assert not out and seconds == sorted(seconds) and seconds[-1] > 0
    assert [line[1] for line in lines] == [
        "reading the images of the proof",
        "tracing the encoder",
        "converting to onnx",
        "tracing the decoder",
        "converting to onnx",
        "checking that onnx opens the file",
        "comparing at size 96 x 128 (1 of 6)",
        "comparing at size 133 x 200 (3 of 6)",
        "comparing at size 65 x 97 (5 of 6)",
        "measuring the time of both",
    ]


@torch.no_grad()
def test_pooling_and_joined_convolutions_of_free_sizes(tmp_path):
    model = model_of("pyramid")
    export(model, tmp_path / "m.onnx", words=["resize", "argmax"])
    graph = session(tmp_path / "m.onnx")
    for size in SIZES:
        image = pixels(size, 2)
        (found,) = graph.run(["labels"], {"image": image.numpy()})
        assert np.array_equal(found, resize(model(image)["logits"], size=size).argmax(1)) and found.dtype == np.uint8


@torch.no_grad()
def test_padding_and_one_class(tmp_path):
    model = model_of("semantic", 1)
    image = pixels((33, 47))
    padded = torch.cat([image.float(), model.mean.expand(1, 3, 15, 47)], 2)
    padded = torch.cat([padded, model.mean.expand(1, 3, 48, 1)], 3)
    expected = resize(model(padded)["logits"], size=(48, 48))[..., :33, :47].sigmoid()
    # a threshold that no probability comes close to, in the middle third of them
    middle = expected.flatten().sort().values[len(expected.flatten()) // 3 : -len(expected.flatten()) // 3]
    widest = int(middle.diff().argmax())
    threshold = float(middle[widest : widest + 2].mean())
    model.config["inference"] = {"pad_divisor": 16, "threshold": threshold}
    export(model, tmp_path / "labels.onnx", words=["resize", "argmax"])
    (labels,) = session(tmp_path / "labels.onnx").run(None, {"image": image.numpy()})
    assert np.array_equal(labels, expected[:, 0] > threshold) and 0 < labels.mean() < 1
    assert said(tmp_path / "labels.onnx").threshold == threshold


@torch.no_grad()
def test_instances_are_those_of_the_runner(folder):
    from segkit.data.files.object_masks import dense_masks
    from segkit.runners.ensemble import runner_of
    from segkit.types import Batch, Meta

    model, image = model_of("instances"), pixels((40, 50))
    meta = Meta(id="a", path="a", size=(40, 50), valid=(40, 50))
    (expected,) = runner_of(model).predict(model, Batch(image=image, meta=[meta]))
    names = ["masks", "scores", "labels", "boxes"]
    found = dict(zip(names, session(folder / "instances.onnx").run(names, {"image": image.numpy()})))
    assert np.array_equal(found["masks"], dense_masks(expected["masks"], (40, 50))) and found["masks"].sum()
    assert np.allclose(found["scores"], expected["scores"], atol=1e-5)
    assert np.array_equal(found["labels"], expected["labels"]) and np.array_equal(found["boxes"], expected["boxes"])
    assert said(folder / "instances.onnx").batch == 1


@torch.no_grad()
def test_clicks_in_two_graphs(folder):
    model, image = model_of("clicks"), pixels((40, 50), 2)
    previous = torch.rand(2, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    (features,) = session(folder / "clicks.encoder.onnx").run(["features"], {"image": image.numpy()})
    decoder = session(folder / "clicks.decoder.onnx")
    clicks = torch.tensor([[[10.0, 12, 1], [30, 40, 0], [-1, -1, 0]], [[5, 5, 0], [20, 25, 1], [21, 3, 1]]])
    rows = torch.full((2, 6, 3), -1.0)  # three positive rows, three negative ones, by the order of the clicks
    for i, j, y, x, order in (
        (0, 0, 10, 12, 0),
        (0, 4, 30, 40, 1),
        (1, 3, 5, 5, 0),
        (1, 1, 20, 25, 1),
        (1, 2, 21, 3, 2),
    ):
        rows[i, j] = torch.tensor([y, x, order])
    given = {"features": features, "clicks": clicks.numpy(), "previous": previous.numpy()}
    (found,) = decoder.run(["probabilities"], given)
    assert np.allclose(found, model.probabilities(image, rows, previous), atol=1e-5)
    assert said(folder / "clicks.decoder.onnx").task == "clicks_decoder"
    assert torch.equal(
        click_rows(clicks)[0, :, :2].amax(1) >= 0, torch.tensor([True, False, False, False, True, False])
    )


def test_clicks_of_the_runner_are_those_of_click_predictor(folder):
    from segkit.api import click_predictor
    from segkit.runtime.clicks import load_clicks

    graphs = load_clicks(folder / "clicks.decoder.onnx", threads=1)
    predictor = click_predictor(model_of("clicks"), zoom=None, flip=False)
    image = pixels((40, 50))[0].permute(1, 2, 0).numpy()
    start = np.zeros((40, 50), bool)
    start[5:20, 10:30] = True
    for mask in (None, start):
        for side in (graphs, predictor):
            side.set_image(image)
            if mask is not None:
                side.set_mask(mask)
                assert np.array_equal(side.mask, mask)
        for y, x, is_positive in ((10, 12, True), (30, 40, False), (12, 30, True)):
            assert np.array_equal(graphs.click(y, x, is_positive), predictor.click(y, x, is_positive))
            assert np.allclose(graphs.probabilities, predictor.probabilities, atol=1e-5)
        assert np.array_equal(graphs.undo(), predictor.undo())


def test_a_process_without_torch(folder):
    """ONNX Runtime and numpy alone run the three kinds."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, onnxruntime as ort\n"
        "image = np.zeros((1, 3, 33, 47), np.uint8)\n"
        "run = lambda name, **x: ort.InferenceSession(f'{sys.argv[1]}/{name}.onnx').run(None, x)\n"
        "assert run('semantic', image=image)[0].shape == (1, 3, 33, 47)\n"
        "assert run('instances', image=image)[0].shape == (2, 33, 47)\n"
        "features, = run('clicks.encoder', image=image)\n"
        "clicks = np.array([[[5, 5, 1]]], np.float32)\n"
        "out, = run('clicks.decoder', features=features, clicks=clicks, previous=image[:, :1].astype(np.float32))\n"
        "assert out.shape == (1, 1, 33, 47) and 0 <= out.min() and out.max() <= 1\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


@pytest.mark.slow
def test_half(tmp_path):
    _, proof = export(model_of("semantic"), tmp_path / "m.onnx", precision="float16", force=True)
    graph = onnx.load(tmp_path / "m.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert 0 < proof.largest_difference < 0.05 and proof.equal_labels > 0.99
    out = graph.output[0].type.tensor_type.elem_type
    assert (graph.input[0].type.tensor_type.elem_type, out) == (onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT)


@pytest.mark.slow
def test_openvino_and_torchscript(tmp_path):
    for to, suffix in (("openvino", ".xml"), ("torchscript", ".ts")):
        (path,), proof = export(model_of("pyramid"), tmp_path / f"m{suffix}", to)
        assert path.exists() and proof.largest_difference < 1e-4 and proof.runtime == to
    import openvino

    text = openvino.Core().read_model(tmp_path / "m.xml").get_rt_info("segkit").value
    assert metadata.parse(text, "m.xml").outputs == ["logits"] and (tmp_path / "m.bin").exists()


@pytest.mark.slow
def test_int8_tells_what_it_costs(tmp_path):
    import cv2

    from segkit.config import Config

    (tmp_path / "images").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), pixels((40, 48 + i))[0].permute(1, 2, 0).numpy())
    model = model_of("semantic", 6)
    data = {"type": "Shapes", "size": (32, 32), "length": 3, "split": "val"}
    model.config = Config(model.config | {"val": {"dataset": data}})
    job = Job("onnx", tmp_path / "m.onnx", Request("int8"), str(tmp_path / "images"), force=True)
    told: list[str] = []
    _, proof = export_model(model, job, say=told.append)
    stages = [line.split(" s  ")[1] for line in told]
    assert stages[1:4] == [
        "tracing the network",
        "converting to onnx",
        f"calibrating with 3 images of {tmp_path / 'images'}",
    ]
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert "DequantizeLinear" in kinds and said(tmp_path / "m.onnx").precision == "int8"
    assert proof.source == "section val" and proof.images == 3 and proof.equal_labels > 0.8
    assert set(proof.miou) == {"network", "file"} and proof.miou["network"] != proof.miou["file"]


# refusals -----------------------------------------------------------------------------------------------------------
def test_a_file_that_differs_is_not_kept(folder, tmp_path, monkeypatch):
    wrong = model_of("semantic")
    nn.init.normal_(wrong.head.classifier.weight)
    other = writers.FORMATS["onnx"]._replace(
        write=lambda part, program, path, place: shutil.copyfile(folder / "semantic.onnx", path)
    )
    monkeypatch.setitem(writers.FORMATS, "onnx", other)
    with pytest.raises(ConfigError, match=r"m.onnx: not kept, since \d+.\d+ % of its labels equal the network's"):
        export(wrong, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    _, proof = export(wrong, tmp_path / "m.onnx", force=True)
    assert proof.is_refused and json.loads((tmp_path / "m.onnx.proof.json").read_text())["is_refused"]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--to", "onxx"], "--to onxx: is no format; did you mean 'onnx'?"),
        (["--to", "onnx", "--half", "--int8", "x"], "--half and --int8: a graph has one precision"),
        (["--to", "onnx", "--size", "64", "64", "--dynamic"], "--size and --dynamic: a graph takes one size or any"),
        (["--to", "onnx", "--size", "0", "64"], "--size 0 64: must be height and width in pixels"),
        (["--to", "pt2", "--int8", "x"], "--int8: --to pt2 has no calibration here"),
        (["--to", "coreml"], "--to coreml: needs the package coremltools"),
        (["--to", "tensorrt"], "--to tensorrt: needs the package tensorrt"),
        (["--to", "executorch"], "--to executorch: needs the package executorch"),
        (["--to", "openvino", "--int8", "x"], "needs the package nncf"),
        (["--to", "onnx", "--out", "m.pt"], "--out m.pt: files of --to onnx end in .onnx"),
        (["--to", "onnx"], "missing.pt"),
    ],
)
def test_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    if "openvino" in words:
        pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "missing.pt", *words]) == 2
    text = capsys.readouterr().err
    assert sentence in text and text.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(ConfigError, match="classes that overlap have no single label"):
        export(model_of("overlapping"), tmp_path / "m.onnx", words=["resize", "argmax"])
    with pytest.raises(ConfigError, match="'soft' is unknown; it can be resize, probabilities, argmax"):
        export(model_of("semantic"), tmp_path / "m.onnx", words=["soft"])
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(ConfigError, match="is there already; replace it by --force"):
        export(model_of("semantic"), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "mine"


class OneSize(TinyHead):
    """Takes maps of 16 x 16 cells alone."""

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        if tuple(features[-1].shape[-2:]) != (16, 16):
            raise ValueError("16 x 16 cells alone")
        return super().forward(features)


def test_one_size_alone(tmp_path):
    backbone = TinyBackbone()
    model = Segmentor(3, backbone, OneSize(backbone.channels, 3)).eval()
    model.config, model.classes, model.palette = {}, None, None
    with pytest.raises(ConfigError, match=r"any size .*--size H W"):
        export(model, tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"--size 48 32: the network of .* does not take it \(16 x 16 cells alone\)"):
        export(model, tmp_path / "m.onnx", size=(48, 32))
    assert not list(tmp_path.iterdir())
    export(model, tmp_path / "m.onnx", size=(32, 32))
    assert said(tmp_path / "m.onnx").size == [32, 32]
    assert session(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", 3, 32, 32]


# branches that became arithmetic ------------------------------------------------------------------------------------
@pytest.fixture
def free(monkeypatch):
    """Every size counts as one that torch.export leaves open."""
    import segkit.archs._auto_deeplab_cells as cells
    import segkit.archs.lraspp as lraspp

    for module in (resizing, cells, lraspp):
        monkeypatch.setattr(module, "is_free", lambda *sizes: True)


@pytest.mark.parametrize("size", [(7, 5), (8, 12), (1, 3)])
def test_arithmetic_equals_the_branches(free, size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for cells in (2, 3, (6, 4)):
        assert torch.allclose(resizing.grid_means(x, cells), F.adaptive_avg_pool2d(x, cells), atol=1e-6)
    for wanted in ((size[0] - 1 or 1, size[1]), (size[0] + 1, size[1] - 1)):
        rows = torch.arange(wanted[0]).clamp(max=size[0] - 1)
        columns = torch.arange(wanted[1]).clamp(max=size[1] - 1)
        assert torch.equal(resizing.fitted(x, wanted), x[:, :, rows][..., columns])
    for window in ((3, 2), (4, 20)):
        matrices = [_means_matrix(side, length, x) for side, length in zip(size, window)]
        assert torch.allclose(matrices[0] @ x @ matrices[1].T, window_means(x, window), atol=1e-6)
    head = LRASPPMergeHead((4, 4, 4), 2, channels=4, levels=(-3, -2, -1)).eval()
    for side, shape in ((1, (60, 7)), (2, (131, 65)), (3, (49, 90))):
        deep = torch.randn(side, 4, *shape, generator=torch.Generator().manual_seed(side))
        for corners in (False, True):
            head.align_corners = corners
            wanted = resize(
                head.gate(F.avg_pool2d(deep, [min(49, length) for length in shape], (16, 20))).sigmoid(),
                size=shape,
                align_corners=corners,
            )
            assert torch.allclose(head._gates(deep), wanted, atol=1e-5)
    for kind in ("max", "avg"):
        pool, padding = SamePool2d(kind, 2), tuple(side % 2 for side in size)
        given = {"count_include_pad": False} if kind == "avg" else {}
        plain = getattr(F, f"{kind}_pool2d")(x, 3, 2, padding, ceil_mode=True, **given)
        assert torch.allclose(pool(x), plain, atol=1e-6)


@pytest.mark.parametrize("height", [97, 128, 33, 16])
def test_bands_of_whole_images(height):
    rows = 16
    expected = [min(int((i * height // rows) * rows / height), rows - 1) for i in range(rows)]
    assert row_positions(None, (height, 50), rows=rows, batch=2).tolist() == [expected] * 2


def test_padding_has_the_color():
    image, color = pixels((3, 5)), torch.tensor([1.5, 2, 3]).view(1, 3, 1, 1)
    padded = with_divisor(image, 4, color)
    assert padded.shape == (1, 3, 4, 8) and torch.equal(padded[..., :3, :5], image.float())
    assert torch.equal(padded[:, :, 3], color[..., 0].expand(1, 3, 8))


# the zoo ------------------------------------------------------------------------------------------------------------
def make_exports():
    spec = importlib.util.spec_from_file_location("make_exports", ROOT / "docs/make_exports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_row(name: str, to: str) -> None:
    page = make_exports()
    result = page.result_of(name, to, None)
    if "error" in result:
        result = page.result_of(name, to, ROWS[name].sizes[-1])
    if result.get("error", "").startswith(("refines", "not run")):
        pytest.skip(result["error"])
    assert "error" not in result, result
    # some random networks lose more than that by rounding alone
    assert result["difference"] < max(1e-4, 3 * result.get("rounding", 0)) and result["equal"] >= 0.9999, result


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_network_to_onnx(name):
    check_row(name, "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_network_to_pt2(name):
    check_row(name, "pt2")


@pytest.mark.slow
@torch.no_grad()
def test_the_example_in_cpp(tmp_path):
    """Compiled against torch's own libraries, run on a picture."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    model, home = model_of("semantic"), Path(torch.__path__[0])
    (path,), proof = export(model, tmp_path / "m.pt2", "pt2", words=["resize", "argmax"])
    assert proof.equal_labels == 1.0
    program = tmp_path / "aoti_predict"
    paths = [f"-I{home}/include", f"-I{home}/include/torch/csrc/api/include", f"-L{home}/lib"]
    libraries = [f"-Wl,-rpath,{home}/lib", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"]
    source = str(ROOT / "examples/aoti_predict.cpp")
    subprocess.run(["g++", "-std=c++20", "-O1", source, "-o", program, *paths, *libraries], check=True)
    image = pixels((33, 47))
    (tmp_path / "in.ppm").write_bytes(b"P6\n47 33\n255\n" + image[0].permute(1, 2, 0).numpy().tobytes())
    words = [program, path, tmp_path / "in.ppm", tmp_path / "out.pgm"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert metadata.parse(done.stdout.strip(), "m.pt2").output == "labels"
    content = (tmp_path / "out.pgm").read_bytes()
    assert content.startswith(b"P5\n47 33\n255\n")
    labels = np.frombuffer(content[-33 * 47 :], np.uint8).reshape(33, 47)
    assert np.array_equal(labels, resize(model(image)["logits"], size=(33, 47)).argmax(1)[0])
