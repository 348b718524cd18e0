"""A model meets data that it does not know, or images that it has no memory for."""

import json

import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.engine import checkpoint
from segkit.registry import ConfigError
from segkit.runners import memory
from segkit.runners.scoring import check_names, with_switches
from tests.bright import Bright
from tests.test_way_back import checkpoint_of, folder, network, picture  # noqa: F401  # a fixture

ELEVEN = tuple(f"c{i}" for i in range(11))


class Named:
    def __init__(self, *classes: str):
        self.classes = classes


def model_of(*classes: str, number: int | None = None) -> Bright:
    model = Bright(number or len(classes))
    model.classes = list(classes) or None
    return model


def test_another_number_of_classes_is_refused_with_both():
    match = r"test.dataset = Named: has 11 classes \(c0, c1, c2, ...\), the model was trained on 6 \(a, b, c, ...\)"
    with pytest.raises(ConfigError, match=match):
        check_names(model_of(*"abcdef"), Named(*ELEVEN), "test.dataset")
    match = r"has 2 classes \(a, b\), the model was trained on 3; score it on data of its own"
    with pytest.raises(ConfigError, match=match):
        check_names(model_of(number=3), Named("a", "b"), "test.dataset")  # a checkpoint without names
    with pytest.raises(ConfigError, match="has 11 classes"):
        check_names(model_of(*ELEVEN, "c11"), Named(*ELEVEN), "test.dataset")


def test_one_class_under_two_numbers_is_refused_and_named():
    match = "class 1 of the model is 'cat', which is class 2 of the data; its class 1 is 'dog'"
    with pytest.raises(ConfigError, match=match):
        check_names(model_of("sky", "cat", "dog"), Named("sky", "dog", "cat"), "test.dataset")
    with pytest.raises(ConfigError, match="class 2 of the model is 'Dog', which is class 1 of the data"):
        check_names(model_of("sky", "cat", "Dog"), Named("sky", "dog", "horse"), "test.dataset")


def test_other_names_at_their_places_are_a_warning_and_spellings_are_none():
    text = check_names(model_of("sky", "car"), Named("sky", "vehicle"), "val.dataset")
    assert "1 of 2 classes have another name" in text and "'car' is scored as 'vehicle'" in text
    assert check_names(model_of("Traffic_Light", "sky"), Named("traffic light", "sky"), "val.dataset") == ""
    assert check_names(model_of("thing", "thing", "sky"), Named("thing", "thing", "sky"), "val.dataset") == ""
    assert check_names(model_of(number=2), Named("a", "b"), "val.dataset") == ""
    assert check_names(model_of(number=1), Named("a", "b"), "val.dataset") == ""  # one channel tells two classes apart
    assert check_names(model_of("a", "b"), Named(), "val.dataset") == ""  # data without names


@pytest.mark.parametrize(
    ("classes", "code", "said"),
    [
        (("dark", "bright"), 0, ""),
        (("bright", "dark"), 2, "class 0 of the model is 'bright', which is class 1 of the data"),
        (("dark", "bright", "red"), 2, "has 2 classes (dark, bright), the model was trained on 3 (dark, bright, red)"),
        (("dark", "light"), 0, "warning: test.dataset = Folder: 1 of 2 classes have another name"),
    ],
)
def test_the_command_compares_them_before_it_scores(folder, capsys, classes, code, said):  # noqa: F811
    path = checkpoint_of(folder, [], classes=classes)
    assert main(["test", str(path), "--trust", "--device", "cpu"]) == code
    assert said in capsys.readouterr().err and (folder / "metrics.json").exists() == (code == 0)


def test_a_loaded_model_knows_its_own_data(folder):  # noqa: F811
    content = checkpoint.read(checkpoint_of(folder, []))
    model = api.load_model(content["config"], folder / "bright.pt")
    assert api.evaluate(model)["mIoU"] == 100
    assert json.dumps(model.classes) == '["dark", "bright"]'


def test_an_image_without_memory_is_told_of_once(monkeypatch, capsys):
    monkeypatch.setattr(memory, "LEAST_PIXELS", 2000)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20_000)
    image = picture((40, 60))[0]
    model = network([])
    runner = api.build_runner(model.config)
    for _ in range(2):
        api.predict(model, image, runner)
    error = capsys.readouterr().err
    # nothing but the scores of two classes in float32: 40 x 60 x 8 bytes
    assert error.count("warning: 60x40 pixels at once need about 0.0 GB, and 0.0 GB are free on cpu") == 1
    assert "--slide" in error and "inference.mode = 'slide'" in error
    model = network([], inference=dict(mode="slide", crop=(32, 32), stride=(20, 20)))
    api.predict(model, image)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    api.predict(network([]), image)
    assert capsys.readouterr().err == ""


def test_the_estimate_by_hand(monkeypatch, capsys):
    """Maps of 12, 8 and 4 floats per pixel and 2 classes: 96 + 8 bytes for each of 4,194,304 pixels."""
    model = network([])
    model.wide = torch.nn.ModuleList(torch.nn.Conv2d(3, n, 1, bias=False) for n in (12, 8, 4, 2))
    forward = Bright.forward

    def wide(self, image, window=None):
        for layer in self.wide:
            layer(image.float())
        return forward(self, image, window)

    monkeypatch.setattr(Bright, "forward", wide)
    assert memory.bytes_per_pixel(model) == 96
    watch, settings = memory.MemoryWatch(), api.build_runner(model.config).inference
    monkeypatch.setattr(memory, "free_bytes", lambda device: 104 * 2**22)
    watch.look(model, torch.zeros(1, 3, 2048, 2048, dtype=torch.uint8), settings)
    assert "2048x2048 pixels at once need about 0.4 GB, and 0.4 GB are free" in capsys.readouterr().err
    monkeypatch.setattr(memory, "free_bytes", lambda device: 3 * 104 * 2**22)
    watch.look(model, torch.zeros(1, 3, 2048, 2049, dtype=torch.uint8), settings)
    assert capsys.readouterr().err == ""


def test_free_memory_is_what_the_system_says():
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50


def test_slide_says_which_window_it_takes():
    rows = [dict(type="RandomScaleCrop", size=64), dict(type="Flip")]
    said: list[str] = []
    inference = with_switches(dict(train=dict(transforms=rows)), tta=False, slide=True, say=said.append)
    assert inference["crop"] == (64, 64) and inference["stride"] == (42, 42)
    assert said == ["--slide: windows of 64x64 pixels, the training crop; inference.crop sets another size"]
    cfg = dict(train=dict(transforms=rows), inference=dict(crop=(32, 48)))
    assert with_switches(cfg, tta=False, slide=True, say=said.append)["crop"] == (32, 48)
    assert len(said) == 1
    with pytest.raises(ConfigError, match=r"--slide: set inference\.crop"):
        with_switches(dict(train=dict(transforms=[dict(type="Flip")])), tta=False, slide=True)


def test_switches_fill_what_a_config_leaves_none():
    """None is how a config takes back what its base says; --tta and --slide were without effect, or a traceback."""
    rows = [dict(type="RandomCrop", size=(32, 48))]
    cfg = dict(train=dict(transforms=rows), inference=dict(tta=None, crop=None, stride=None, threshold=0.3))
    inference = with_switches(cfg, tta=True, slide=True)
    assert inference["tta"] == {"scales": (0.75, 1.0, 1.25), "flip": True}
    assert (inference["crop"], inference["stride"]) == ((32, 48), (21, 32))
    assert inference["threshold"] == 0.3
    given = dict(inference=dict(tta=dict(scales=(2.0,)), crop=(8, 8)))
    inference = with_switches(given, tta=True, slide=True)
    assert inference["tta"] == dict(scales=(2.0,)) and inference["crop"] == (8, 8)
