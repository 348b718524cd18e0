"""Exported graphs without torch: the labels of `segkit predict`, windows, fixed sizes, files, and what is refused."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from segkit import api
from segkit.cli.main import main
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.runtime.clicks import load_clicks
from segkit.runtime.metadata import KEY, GraphInfo, parse
from segkit.runtime.model import load_exported
from segkit.runtime.session import RunError
from segkit.runtime.windows import as_input, slide
from tests.exported import CLASSES, checkpoint_of, config, graph_of, semantic_graph

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[1]
IMAGE = np.random.default_rng(0).integers(0, 256, (75, 91, 3), dtype=np.uint8)
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "torchvision", "pycocotools", "tqdm", "yaml", "scipy"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Checkpoints and graphs: six classes, one class, and labels that overlap."""
    folder = tmp_path_factory.mktemp("exported")
    for name, num_classes, task, runner in (
        ("six", 6, "semantic", {"type": "Semantic"}),
        ("one", 1, "semantic", {"type": "Semantic"}),
        ("many", 3, "multi_label", {"type": "MultiLabel", "threshold": [0.3, 0.5, 0.6], "min_component": 4}),
    ):
        classes = CLASSES[:num_classes]
        net = checkpoint_of(config(num_classes, runner), folder / f"{name}.pt", classes)
        decision = {key: value for key, value in runner.items() if key != "type"}
        palette = [[40 * i, 255 - 40 * i, 90] for i in range(num_classes)]
        info = GraphInfo(task, classes=classes, palette=palette, mean=[127.5] * 3, decision=decision)
        semantic_graph(net, folder / f"{name}.onnx", info)
        if name == "six":
            semantic_graph(net, folder / "fixed.onnx", replace(info, size=[32, 48], batch=1))
            semantic_graph(net, folder / "two.onnx", replace(info, size=[32, 48], batch=2))
            semantic_graph(net, folder / "strided.onnx", replace(info, resized=False, divisor=2))
    return folder


def eager(folder: Path, name: str, **inference: object):
    model = api.load_model(folder / f"{name}.pt", trust=True)
    model.config["inference"] = inference
    return model


def with_info(path: Path, folder: Path, **changes: object) -> Path:
    """The same graph with another description."""
    import onnx
    from onnx.helper import set_model_props

    proto = onnx.load(path)
    text = next(prop.value for prop in proto.metadata_props if prop.key == "segkit")
    set_model_props(proto, {"segkit": replace(parse(text, str(path)), **changes).text()})
    onnx.save(proto, folder / path.name)
    return folder / path.name


def same_labels(graph: Path, model: object, image: np.ndarray = IMAGE) -> None:
    expected = np.asarray(api.predict(model, image)["labels"])
    found = load_exported(graph, threads=1).predict(image)["labels"]
    assert found.dtype == expected.dtype and len(np.unique(expected)) > 1
    np.testing.assert_array_equal(found, expected)


def test_whole_images(made):
    same_labels(made / "six.onnx", eager(made, "six"))
    prediction = load_exported(made / "six.onnx").predict(IMAGE, probabilities=True)
    runner = api.build_runner(eager(made, "six").config)
    runner.keep_probabilities()
    expected = api.predict(eager(made, "six"), IMAGE, runner)["probabilities"]
    np.testing.assert_allclose(prediction["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("stride", [[16, 20], "even"])
def test_windows_are_those_of_the_config(made, tmp_path, stride):
    windows = {"crop": [32, 40], "stride": [] if stride == "even" else stride}
    graph = with_info(made / "six.onnx", tmp_path, slide=windows)
    same_labels(graph, eager(made, "six", mode="slide", crop=(32, 40), stride=stride))
    same_labels(graph, eager(made, "six", mode="slide", crop=(32, 40), stride=stride), IMAGE[:20, :25])


def test_windows_are_averaged_by_hand():
    """3 columns, windows of 2, 1 apart: the middle one is the mean of two windows."""
    calls = []

    def maps(window: np.ndarray) -> np.ndarray:
        calls.append(window[0, 0, 0, 0])
        return np.full((1, 1, 1, 2), float(len(calls)), np.float32)

    result = slide(maps, (1, 2), (1, 1))(np.array([[[[5, 6, 7]]]], np.uint8))
    assert calls == [5, 6] and result[0, 0, 0].tolist() == [1, 1.5, 2]


def test_large_images_in_windows(made, tmp_path, monkeypatch, capsys):
    """The labels of a checkpoint's windows, by the option and where an image has too many pixels."""
    cv2.imwrite(str(tmp_path / "a.tif"), IMAGE[:, :, ::-1])
    model = eager(made, "six", mode="slide", crop=(32, 40), stride=(16, 20))
    free = with_info(made / "six.onnx", tmp_path, large={"crop": [32, 40], "stride": [16, 20]})
    fixed = load_exported(made / "fixed.onnx").predict(IMAGE)["labels"]
    for graph, expected in ((free, api.predict(model, IMAGE)["labels"]), (made / "fixed.onnx", fixed)):
        for words in (["--large"], []):
            monkeypatch.setenv("SEGKIT_MAX_PIXELS", "100000" if words else "5000")
            out = tmp_path / f"{graph.stem}{len(words)}"
            assert main(["predict", str(graph), str(tmp_path / "a.tif"), "--out", str(out), *words]) == 0
            np.testing.assert_array_equal(np.asarray(Image.open(out / "labels/a.tif")), expected)
            assert (out / "overlays/a.png").is_file() and "windows" in capsys.readouterr().out
    for name, message in (("many", "gives multi_label, and windows of large images are joined of logits"),):
        assert main(["predict", str(made / f"{name}.onnx"), str(tmp_path / "a.tif"), "--large"]) == 2
        assert message in capsys.readouterr().err


def test_one_class_is_cut_at_the_threshold(made, tmp_path):
    model = eager(made, "one", threshold=0.45)
    same_labels(with_info(made / "one.onnx", tmp_path, threshold=0.45), model)


def test_masks_that_overlap(made):
    expected = api.predict(eager(made, "many"), IMAGE)
    found = load_exported(made / "many.onnx").predict(IMAGE)
    np.testing.assert_array_equal(found["positive"], expected["positive"])
    assert 0 < found["positive"].mean() < 1
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


def test_a_graph_of_one_size_sees_smaller_images_padded_and_larger_ones_in_windows(made):
    same_labels(made / "fixed.onnx", eager(made, "six", mode="slide", crop=(32, 48), stride=(21, 32)))
    # padded with the mean, as inference.pad_divisor does
    small = IMAGE[:29, :16]
    model = eager(made, "six", pad_divisor=48)
    expected = api.predict(model, np.pad(small, ((0, 3), (0, 0), (0, 0)), constant_values=128))["labels"][:29]
    found = load_exported(made / "fixed.onnx").predict(small)["labels"]
    np.testing.assert_array_equal(found, expected)


def test_batches_give_the_labels_of_single_images(made):
    images = [IMAGE, IMAGE[::-1], IMAGE[:, ::-1]]
    for name in ("six", "two"):  # free, and two at once, the last one filled up
        graph = load_exported(made / f"{name}.onnx")
        alone = [graph.predict(np.ascontiguousarray(image))["labels"] for image in images]
        for one, other in zip(graph.predict_batch(images), alone):
            np.testing.assert_array_equal(one["labels"], other)


def test_maps_at_the_graphs_stride_are_resized(made):
    even = np.ascontiguousarray(IMAGE[:74, :90])
    same_labels(made / "strided.onnx", eager(made, "six"), even)


def test_the_command_writes_the_files_of_a_checkpoint(made, tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    Image.fromarray(IMAGE).save(tmp_path / "in/a.png")
    Image.fromarray(IMAGE[:, :, 0]).save(tmp_path / "in/deep/grey.jpg")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(IMAGE).save(tmp_path / "in/turned.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / "in/sixteen.png"), IMAGE.astype(np.uint16) * 257)
    words = [str(tmp_path / "in"), "--probabilities", "--exif"]
    for name in ("six", "many"):
        assert main(["predict", str(made / f"{name}.onnx"), *words, "--out", str(tmp_path / f"{name}-graph")]) == 0
        pt = ["predict", str(made / f"{name}.pt"), *words, "--out", str(tmp_path / f"{name}-pt"), "--device", "cpu"]
        assert main([*pt, "--trust"]) == 0
        files = sorted(path.relative_to(tmp_path / f"{name}-pt") for path in (tmp_path / f"{name}-pt").rglob("*.*"))
        assert len(files) == (12 if name == "six" else 20)
        for file in files:
            pair = [tmp_path / f"{name}-{kind}" / file for kind in ("pt", "graph")]
            if file.suffix == ".npz":
                a, b = (np.load(path) for path in pair)
                np.testing.assert_allclose(a["probabilities"], b["probabilities"], atol=1e-3)
                assert a["classes"].tolist() == b["classes"].tolist()
            else:
                assert pair[0].read_bytes() == pair[1].read_bytes(), file
    assert "4 images: " in capsys.readouterr().out


def test_a_process_without_torch(made, tmp_path):
    """`segkit predict` and the runner where torch and its friends cannot be imported."""
    for suffix in ("png", "tif"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), IMAGE)
    code = BLOCKED + (
        "from segkit.cli.main import main\n"
        f"assert main(['predict', {str(made / 'six.onnx')!r}, 'a.png']) == 0\n"
        f"assert main(['predict', {str(made / 'six.onnx')!r}, 'a.tif', '--large']) == 0\n"
        "import numpy as np, segkit\n"
        f"graph = segkit.load_exported({str(made / 'many.onnx')!r})\n"
        "assert graph.predict(np.zeros((40, 50, 3), np.uint8))['positive'].shape == (3, 40, 50)\n"
        "assert not {'torch', 'tqdm', 'pycocotools'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions/labels/a.png").is_file()


class TwoObjects(nn.Module):
    """Finds two objects, the second of which counts for nothing."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        bright = (image[0, :2].float() > 127).to(torch.uint8)
        boxes = torch.tensor([[0.0, 0.0, 5.0, 4.0], [1.0, 1.0, 2.0, 2.0]]) + 0 * image.float().mean()
        return torch.tensor([0.9, 0.0]) + 0 * boxes[:, 0], torch.tensor([2, 1]) + 0 * bright[:, 0, 0], boxes, bright


def test_instances_become_coco_results(tmp_path):
    names = ["scores", "labels", "boxes", "masks"]
    info = GraphInfo("instances", outputs=names, classes=["a", "b", "c"], batch=1)
    image = torch.zeros(1, 3, 20, 30, dtype=torch.uint8)
    graph = graph_of(TwoObjects(), {"image": image}, tmp_path / "objects.onnx", info)
    found = load_exported(graph).predict(IMAGE)
    assert found["scores"].tolist() == [np.float32(0.9)] and found["labels"].tolist() == [2]
    from pycocotools.mask import decode

    np.testing.assert_array_equal(decode(found["masks"][0]), IMAGE[:, :, 0] > 127)
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE[:, :, ::-1])
    assert main(["predict", str(graph), str(tmp_path / "x.png"), "--out", str(tmp_path / "out")]) == 0
    (entry,) = json.loads((tmp_path / "out/results.json").read_text())
    assert entry["image_id"] == "x" and entry["category_id"] == 3 and entry["bbox"] == [0, 0, 5, 4]
    np.testing.assert_array_equal(decode(entry["segmentation"]), IMAGE[:, :, 0] > 127)
    assert (tmp_path / "out/overlays/x.png").is_file()


class Brightness(nn.Module):
    """An encoder: the mean over the colors."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float().mean(1, keepdim=True) / 255


class Clicked(nn.Module):
    """A decoder: pixels as bright as the clicks say, pulled to the mask before."""

    def forward(self, features: Tensor, clicks: Tensor, previous: Tensor) -> Tensor:
        signs = (clicks[:, :, 2] > 0).float() - (clicks[:, :, 2] < 0).float()
        total = (signs * (clicks[:, :, :2].amax(-1) >= 0)).sum(1).view(-1, 1, 1, 1)
        return (features + 0.2 * total + previous - 1).sigmoid()


def click_pair(folder: Path) -> Path:
    size = torch.zeros(1, 1, 8, 9)
    encoder = GraphInfo("clicks_encoder", outputs=["features"], source="1")
    graph_of(Brightness(), {"image": torch.zeros(1, 3, 8, 9, dtype=torch.uint8)}, folder / "m.encoder.onnx", encoder)
    names = ["features", "clicks", "previous"]
    info = GraphInfo("clicks_decoder", "probabilities", names, ["probabilities"], threshold=0.49, source="1")
    inputs = dict(zip(names, (size, torch.zeros(1, 5, 3), size)))
    free = ("features", "previous")
    return graph_of(Clicked(), inputs, folder / "m.decoder.onnx", info, free=free)


def test_clicks_and_undo(tmp_path):
    graphs = load_clicks(click_pair(tmp_path))
    with pytest.raises(ValueError, match="no image yet"):
        graphs.click(1, 1)
    graphs.set_image(IMAGE)
    bright = IMAGE.astype(np.float32).mean(2) / 255

    def step(total: float, previous: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(bright + 0.2 * total + previous - 1)))

    first = step(1, np.zeros_like(bright))
    graphs.click(3, 4)
    np.testing.assert_allclose(graphs.probabilities, first, atol=1e-6)
    np.testing.assert_array_equal(graphs.mask, graphs.probabilities > np.float32(0.49))
    graphs.click(3, 5, positive=False)
    np.testing.assert_allclose(graphs.probabilities, step(0, first), atol=1e-6)
    assert [click.is_positive for click in graphs.clicks] == [True, False]
    graphs.undo()
    np.testing.assert_allclose(graphs.probabilities, first, atol=1e-6)
    graphs.reset()
    assert graphs.clicks == () and not graphs.mask.any()
    with pytest.raises(ValueError, match="no click to undo"):
        graphs.undo()
    with pytest.raises(ValueError, match="75 rows and 91 columns"):
        graphs.click(75, 0)
    for _ in range(5):
        graphs.click(0, 0)
    with pytest.raises(ValueError, match="takes 5 clicks"):
        graphs.click(0, 0)
    with pytest.raises(ConfigError, match=r"load_clicks"):
        load_exported(tmp_path / "m.encoder.onnx")


@pytest.mark.slow
def test_openvino_gives_the_same_labels(made, tmp_path):
    openvino = pytest.importorskip("openvino")
    model = openvino.convert_model(str(made / "six.onnx"))
    info = GraphInfo("semantic", classes=CLASSES)
    model.set_rt_info(info.text(), ["segkit"])
    openvino.save_model(model, str(tmp_path / "six.xml"), compress_to_fp16=False)
    same_labels(tmp_path / "six.xml", eager(made, "six"))


def test_what_is_refused(made, tmp_path, monkeypatch, capsys):
    import onnx

    plain = onnx.load(made / "six.onnx")
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    for path, error, message in (
        (tmp_path / "plain.onnx", DataError, "has no entry 'segkit'"),
        (tmp_path / "bad.onnx", DataError, "ONNX Runtime cannot load it"),
        (tmp_path / "none.onnx", DataError, "no such file"),
        (made / "six.pt", ConfigError, r"is no exported graph; these end in \.onnx or \.xml"),
        (
            with_info(made / "fixed.onnx", tmp_path, slide={"crop": [64, 64], "stride": []}),
            DataError,
            "larger than its",
        ),
        (with_info(made / "six.onnx", tmp_path, outputs=["maps"]), DataError, "has no output 'maps'"),
    ):
        with pytest.raises(error, match=message) as caught:
            load_exported(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="has no CUDA"):
        load_exported(made / "six.onnx", "cuda")
    with pytest.raises(ConfigError, match=r"device = 'tpu'.*runs on 'cpu'"):
        load_exported(made / "six.onnx", "tpu")
    with pytest.raises(DataError, match="values of 0 to 300, and the graph takes uint8"):
        as_input(np.array([0, 300], np.float32), "uint8", "x.tif")
    assert as_input(np.array([1.5, 200.6], np.float32), "uint8", "x").tolist() == [2, 201]
    words = ["predict", str(made / "six.onnx"), "--out", str(tmp_path / "out"), str(tmp_path)]
    for option, message in (("--tta", "--tta: is for checkpoints"), ("--slide", "--slide: is for checkpoints")):
        assert main([*words, option]) == 2 and message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r'pip install "segkit\[runtime\]"'):
        load_exported(made / "six.onnx")


def with_text(path: Path, folder: Path, text: str) -> Path:
    """A copy of a graph that says this about itself."""
    import onnx

    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {KEY: text})
    onnx.save(proto, folder / "said.onnx")
    return folder / "said.onnx"


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(output="sums"), r"output = 'sums': must be one of 'logits', 'probabilities', 'labels'"),
        (dict(output=["logits"]), r"output = \['logits'\]: must be"),
        (dict(classes=5), r"classes = 5: must be a list, each text"),
        (dict(palette=[[1, 2, 300]]), r"palette\.0\.2 = 300: must be a whole number from 0 to 255"),
        (dict(palette=[[1, 2]]), "colors of three numbers"),
        (dict(palette=[[1, 2, 3]]), "palette: 1 colors for 6 classes"),
        (dict(dtype="object"), r"dtype = 'object': must be one of 'uint8'"),
        (dict(channels=4), "takes images whose channels is 3, and says 4"),
        (dict(size=[8]), r"size = \[8\]: must be a height and a width"),
        (dict(size=[0, 8]), r"size\.0 = 0: must be a whole number of 1 or more"),
        (dict(size=[10**9, 10**9]), "more than 268,435,456 pixels"),
        (dict(batch="x"), r"batch = 'x': must be None or a whole number"),
        (dict(slide={"crop": [8, 8]}), "slide = .*must be a crop and a stride"),
        (dict(slide={"crop": [8, 8], "stride": [9, 8]}), "a stride that is no larger"),
        (dict(slide={"crop": [8, 8], "stride": [0, 8]}), r"slide\.stride\.0 = 0: must be a whole number of 1"),
        (dict(large={"stride": [8, 8]}), "large = .*must be a crop"),
        (dict(mean=["a"]), r"mean\.0 = 'a': must be a number"),
        (dict(mean=[1.0]), "mean: 1 values for 3 channels"),
        (dict(reading=[1]), r"reading = \[1\]: must be a dict"),
        (dict(decision={"least": 1}), "decision: 'least' is unknown"),
        (dict(decision={"return": None}), "decision: 'return' is unknown"),
        (dict(decision={"min_area": "x"}), r"decision\.min_area = 'x': must be"),
        (dict(divisor=10**12), "divisor = 1000000000000: must be"),
        (dict(threshold="x"), "threshold = 'x': must be"),
        (dict(task=["semantic"]), r"task \['semantic'\] is unknown"),
        (dict(task="instances"), "has no output 'scores'"),
        (dict(inputs=["picture"]), "has no input 'picture'"),
        (dict(format="1"), "is not what `segkit export` writes"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "is not what `segkit export` writes"),
        ("", "no valid JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_graph_says_about_itself_is_checked(made, tmp_path, values, message):
    text = values
    if not isinstance(values, str):
        text = json.dumps(json.loads(GraphInfo("semantic", classes=CLASSES).text()) | values)
    with pytest.raises(DataError, match=message) as caught:
        load_exported(with_text(made / "six.onnx", tmp_path, text))
    assert "said.onnx" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, count", [("six", 6), ("many", 3)])
def test_a_graph_of_more_classes_than_it_has_colors_for(made, tmp_path, name, count):
    graph = with_info(made / f"{name}.onnx", tmp_path, classes=[], palette=[[1, 2, 3]] * 2)
    with pytest.raises(DataError, match=f"gives {count} classes, and states 2 colors; export it again"):
        load_exported(graph).predict(IMAGE)


def test_a_graph_that_fails_is_named(made, tmp_path):
    graph = load_exported(with_info(made / "six.onnx", tmp_path, dtype="float32"))  # it takes uint8
    with pytest.raises(RunError, match=r"six\.onnx: ONNX Runtime cannot compute it of image 1x3x\d+x\d+ \(.*export"):
        graph.predict(IMAGE)


def test_labels_of_the_graph_cannot_be_joined(made, tmp_path):
    class Labels(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.float().mean(1).gt(127).to(torch.uint8)

    info = GraphInfo("semantic", "labels", outputs=["labels"], classes=["dark", "bright"])
    graph = graph_of(Labels(), {"image": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, tmp_path / "labels.onnx", info)
    found = load_exported(graph).predict(IMAGE)["labels"]
    np.testing.assert_array_equal(found, IMAGE.astype(np.float32).mean(2) > 127)
    with pytest.raises(ConfigError, match="gives labels alone"):
        load_exported(graph).predict(IMAGE, probabilities=True)
    with pytest.raises(DataError, match="windows cannot be joined"):
        load_exported(with_info(graph, made, slide={"crop": [4, 4], "stride": []})).predict(copy.copy(IMAGE))
