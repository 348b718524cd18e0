"""Odd and malformed checkpoints: each is loaded right, or refused in one sentence; none ends in a traceback."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segkit import api
from segkit.cli.main import main
from segkit.config import load_config
from segkit.convert import find_map
from segkit.convert.count_classes import count_classes
from segkit.convert.keymap import KeyMap, all_maps, load_map
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.hooks import standard_hooks
from segkit.readers.python_config import dump
from segkit.registry import BACKBONES, ConfigError, build_model, without_start_weights
from tests.archs_table import build
from tests.oracles import fixture
from tests.test_loop import loop_of
from tests.tiny import sections

FIRST = "backbone.first.0.weight"
COUNTER = "backbone.first.1.num_batches_tracked"
VARIANCE = "backbone.first.1.running_var"

Weights = dict[str, Tensor]


def weights() -> Weights:
    """The same at each call: weights that differ from those a model starts from, and statistics that are no 0 and 1."""
    torch.manual_seed(5)
    state = build_model(sections()["model"]).state_dict()
    return {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value + 7 for name, value in state.items()
    }


def prefixed(prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights().items()}


def with_value(name: str, change: Callable[[Tensor], object]) -> dict:
    return weights() | {name: change(weights()[name].clone())}


def filled(number: float) -> Callable[[Tensor], Tensor]:
    """The tensor with one other value."""

    def change(value: Tensor) -> Tensor:
        value.view(-1)[0] = number
        return value

    return change


def renamed(change: Callable[[str], object]) -> dict:
    return {change(name): value for name, value in weights().items()}


def without(*names: str) -> Weights:
    return {name: value for name, value in weights().items() if not name.endswith(names)}


def part(prefix: str) -> Weights:
    return {name: value for name, value in weights().items() if name.startswith(prefix)}


def inside(*keys: str, content: object = None) -> dict:
    result: object = weights() if content is None else content
    for key in reversed(keys):
        result = {key: result}
    assert isinstance(result, dict)
    return result


def part_of_storage(storage: Tensor, value: Tensor) -> Tensor:
    """The value as a view into a far larger storage."""
    storage[3 : 3 + value.numel()] = value.flatten()
    return storage[3 : 3 + value.numel()].view_as(value)


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
LOADED = {
    "plain": weights,
    **{
        key: lambda key=key: inside(key)
        for key in (
            "state_dict",
            "model_state_dict",
            "model_state",
            "model",
            "net",
            "network",
            "module",
            "weights",
            "params",
            "ema",
            "model_ema",
            "ema_state_dict",
            "state_dict_ema",
            "params_ema",
            "teacher",
            "student",
            "segmentor",
        )
    },
    "of an unusual key": lambda: inside("generator") | {"epoch": 3},
    "two levels": lambda: inside("state_dict", "model"),
    "three levels": lambda: inside("checkpoint", "model", "state_dict"),
    "beside an optimizer": lambda: inside("model_state_dict") | {"optimizer_state_dict": OPTIMIZER, "epoch": 2},
    "beside an average": lambda: inside("state_dict") | {"state_dict_ema": {n: v + 1 for n, v in weights().items()}},
    "beside text": lambda: inside("state_dict") | {"config": "yaml: 1", "hyper_parameters": {"lr": 0.1}},
    "beside numbers": lambda: weights() | {"epoch": 3, "best": 0.5},
    "another's model and config": lambda: inside("model") | {"args": {"a": 1}, "config": ["a", 3]},
    "no meta data": lambda: {"meta": None, "state_dict": weights()},
    "a tensor beside": lambda: inside("model") | {"step": torch.tensor(3)},
    "classes": lambda: inside("state_dict") | {"meta": {"dataset_meta": {"classes": list("abcdef")}}},
    **{
        prefix: lambda prefix=prefix: prefixed(prefix)
        for prefix in (
            "module.",
            "_orig_mod.",
            "module._orig_mod.",
            "_orig_mod.module.",
            "model.",
            "net.",
            "network.",
            "model.module.",
            "module.model.",
            "segmenter.net.",
        )
    },
    "compiled parts": lambda: renamed(lambda name: name.replace("backbone.", "backbone._orig_mod.", 1)),
    "Lightning": lambda: inside("state_dict", content=prefixed("model.")) | {"pytorch-lightning_version": "2.1"},
    "Lightning with a loss": lambda: prefixed("model.") | {"criterion.weight": torch.ones(6)},
    "AveragedModel": lambda: prefixed("module.") | {"n_averaged": torch.tensor(4)},
    "no counters": lambda: without("num_batches_tracked"),
    "float16": lambda: {n: v.half() if v.is_floating_point() else v for n, v in weights().items()},
    "bfloat16": lambda: {n: v.bfloat16() if v.is_floating_point() else v for n, v in weights().items()},
    "float64": lambda: {n: v.double() if v.is_floating_point() else v for n, v in weights().items()},
    "float counters": lambda: with_value(COUNTER, Tensor.float),
    "int32 counters": lambda: with_value(COUNTER, Tensor.int),
    "parameters": lambda: with_value(FIRST, torch.nn.Parameter),
    "turned": lambda: with_value(FIRST, lambda v: v.transpose(2, 3).contiguous().transpose(2, 3)),
    "a view of a large storage": lambda: with_value(FIRST, lambda v: part_of_storage(torch.zeros(2_000_000), v)),
}
"""Files that hold the weights, by what is odd about them."""

REFUSED = {
    "list": (lambda: [1, 2], "holds a list"),
    "tensor": (lambda: torch.ones(3), "holds a Tensor"),
    "text": (lambda: "weights", "holds a str"),
    "number": (lambda: 5, "holds a int"),
    "none": (lambda: None, "holds a NoneType"),
    "list of state dicts": (lambda: [weights()], "holds a list"),
    "empty": (dict, "holds no weights"),
    "empty state dict": (lambda: {"state_dict": {}}, "holds no weights; its keys are state_dict"),
    "empty model of segkit": (lambda: {"model": {}, "segkit_version": "0.2.0"}, "holds no weights"),
    "no tensors": (lambda: {"epoch": 3}, "holds no weights; its keys are epoch"),
    "lists for tensors": (lambda: {n: v.tolist() for n, v in weights().items()}, "holds no weights"),
    "arrays as bytes": (lambda: {n: v.numpy().tobytes() for n, v in weights().items()}, "holds no weights"),
    "two networks": (lambda: {"encoder": weights(), "decoder": weights()}, "several sets of weights .encoder, decoder"),
    "numbered": (lambda: dict(enumerate(weights().values())), "names a tensor 0, which is no text"),
    "bytes for names": (lambda: renamed(str.encode), "names a tensor b'"),
    "tuples for names": (lambda: renamed(lambda name: (name, 1)), "names a tensor"),
    "nested names": (lambda: inside("a", "b", "c", "d", "e", "f"), "holds no weights"),
    "optimizer alone": (lambda: {"optimizer": OPTIMIZER}, "holds no weights"),
    "one value a list": (lambda: with_value(FIRST, Tensor.tolist), f"1 are missing, first {FIRST}"),
    "one value None": (lambda: with_value(FIRST, lambda _: None), f"1 are missing, first {FIRST}"),
    "encoder alone": (lambda: part("backbone"), "4 are missing, first head"),
    "encoder alone, plain": (lambda: {n[9:]: v for n, v in part("backbone").items()}, "missing"),
    "another shape": (lambda: with_value(FIRST, lambda v: v[:4]), f"first {FIRST}: .4, 3, 3, 3. in the file"),
    "no axes": (lambda: with_value(FIRST, lambda v: v[0, 0, 0, 0]), rf"first {FIRST}: \(\) in the file"),
    "flat": (lambda: with_value(FIRST, Tensor.flatten), f"first {FIRST}: .216,. in the file"),
    "no values": (lambda: with_value(FIRST, lambda v: v[:0]), f"first {FIRST}: .0, 3, 3, 3. in the file"),
    "one more": (lambda: weights() | {"head.more": torch.ones(1)}, "1 are unknown, first head.more"),
    "half prefixed": (lambda: renamed(lambda n: f"net.{n}" if n > "c" else n), "missing"),
    "a prefix twice": (lambda: prefixed("module.") | {FIRST: torch.ones(1)}, "unknown|missing"),
    "NaN": (lambda: with_value(FIRST, filled(float("nan"))), f"{FIRST} holds nan"),
    "infinite": (lambda: with_value(FIRST, filled(float("inf"))), f"{FIRST} holds inf"),
    "minus infinite": (lambda: with_value("head.classifier.bias", filled(-float("inf"))), "classifier.bias holds -inf"),
    "infinite as float32": (lambda: with_value(FIRST, lambda v: v.double() * 1e300), f"{FIRST} holds inf"),
    "NaN in float16": (lambda: with_value(FIRST, lambda v: filled(float("nan"))(v.half())), f"{FIRST} holds nan"),
    "NaN variance": (lambda: with_value(VARIANCE, filled(float("nan"))), f"{VARIANCE} holds nan"),
    "negative variance": (lambda: with_value(VARIANCE, filled(-1.0)), f"{VARIANCE} holds -1, a negative variance"),
    "complex": (lambda: with_value(FIRST, lambda v: v.to(torch.complex64)), f"{FIRST} is complex"),
    "int8": (lambda: with_value(FIRST, Tensor.char), f"{FIRST} holds int8, not floats"),
    "int64": (lambda: {n: v.long() for n, v in weights().items()}, "holds int64, not floats .16 tensors of 18"),
    "bool": (lambda: with_value(FIRST, Tensor.bool), f"{FIRST} holds bool, not floats"),
    "broken counter": (lambda: with_value(COUNTER, lambda v: v + 0.5), f"{COUNTER} holds broken numbers"),
    "NaN counter": (lambda: with_value(COUNTER, lambda v: v * float("nan")), f"{COUNTER} holds nan"),
    "sparse": (lambda: with_value(FIRST, Tensor.to_sparse), "holds sparse tensors"),
    "meta": (lambda: with_value(FIRST, lambda v: v.to("meta")), "holds tensors without values"),
    "quantized": (
        lambda: with_value(FIRST, lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)),
        "holds quantized tensors",
    ),
    "a network as an object": (lambda: {"model": torch.nn.Linear(1, 1)}, "holds no weights"),
    "classes are no list": (lambda: inside("model") | {"classes": 5, "config": {}}, "'classes' holds no list"),
    "classes are numbers": (lambda: inside("model") | {"classes": [1, 2], "config": {}}, "'classes' holds no list"),
    "palette of two": (lambda: inside("model") | {"palette": [[1, 2]], "config": {}}, "'palette' holds no list"),
    "config with tensors": (lambda: inside("model") | {"config": {"a": torch.ones(1)}}, "'config': holds a Tensor"),
    "config by number": (lambda: inside("model") | {"config": {1: 2}}, "'config' holds no sections"),
    "average of text": (lambda: inside("model") | {"config": {}, "ema": "x"}, "'ema' holds no weights"),
    "average is empty": (lambda: inside("model") | {"config": {}, "ema": {}}, "'ema' holds no weights"),
    "average with NaN": (
        lambda: inside("model") | {"config": {}, "ema": with_value(FIRST, filled(float("nan")))},
        f"{FIRST} holds nan",
    ),
}
"""Files that hold none, by what is wrong with them, and the sentence."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Files of other names are compared with every key map; a few stand for all."""
    maps = {name: load_map(name) for name in ("hrnet", "mmseg", "torchvision_fcn")}
    monkeypatch.setattr(find_map, "all_maps", lambda: maps)


@pytest.mark.parametrize("case", LOADED)
def test_odd_files_are_read(case, tmp_path):
    torch.save(LOADED[case](), tmp_path / "a.pth")
    state = api.load_model(sections(), tmp_path / "a.pth").state_dict()
    expected = weights()
    digits = {"float16": 1e-3, "bfloat16": 8e-3}.get(case, 0)
    for name, value in state.items():
        wanted = expected[name]
        if case == "no counters" and name.endswith("num_batches_tracked"):
            wanted = torch.tensor(0)
        assert value.dtype == wanted.dtype and torch.allclose(value, wanted, rtol=digits, atol=0), name


@pytest.mark.filterwarnings("ignore:torch.quantize")
@pytest.mark.parametrize("case", REFUSED)
def test_malformed_files_are_refused(case, tmp_path):
    make, sentence = REFUSED[case]
    torch.save(make(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=sentence) as found:
        api.load_model(sections(), tmp_path / "a.pth")
    text = str(found.value)
    assert text.startswith(str(tmp_path / "a.pth")) and len(text) < 1000


BAD_VALUES = {name: REFUSED[name] for name in ("NaN", "complex", "int8", "negative variance")}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_every_reader_looks_at_the_values(case, tmp_path, capsys):
    """load_model is above; here are start weights, the conversion, and safetensors."""
    make, sentence = BAD_VALUES[case]
    path = tmp_path / "a.pth"
    torch.save(make(), path)
    (tmp_path / "own.py").write_text(dump(sections()))
    cfg = sections() | {"init": dict(path=str(path))}
    with pytest.raises(CheckpointError, match=sentence):
        loop_of(cfg, tmp_path)
    assert main(["convert", str(path), str(tmp_path / "o.pt"), "--config", str(tmp_path / "own.py")]) == 2
    assert not (tmp_path / "o.pt").exists() and path.name in capsys.readouterr().err
    checkpoint.save(tmp_path / "a.safetensors", {"model": make()})
    with pytest.raises(CheckpointError, match=sentence):
        api.load_model(sections(), tmp_path / "a.safetensors")


def test_start_weights_of_an_encoder_are_looked_at(tmp_path):
    from segkit.backbones.timm import Timm

    state = Timm("resnet10t").encoder.state_dict()
    state["conv1.0.weight"][0] = float("nan")
    torch.save({"model_state_dict": {f"_orig_mod.{name}": value for name, value in state.items()}}, tmp_path / "e.pth")
    with pytest.raises(ConfigError, match=r"conv1.0.weight holds nan"):
        Timm("resnet10t", pretrained=tmp_path / "e.pth")


def test_the_number_of_classes_comes_from_the_weights(tmp_path):
    """A model base names it by ref() alone; segkit's names and mmsegmentation's."""
    base = "segkit:_base_/models/fcn_r50.py"
    options = ("model.backbone.name='resnet18'", "model.backbone.output_stride=32", "model.head.channels=4")
    cfg = load_config(base, ("num_classes=7", *options))
    state = build_model(without_start_weights(cfg["model"])).state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "a.pth")
    model = api.load_model(base, tmp_path / "a.pth", options=options)
    assert model.num_classes == 7 == model.config["model"]["num_classes"]
    with pytest.raises(CheckpointError, match=r"head.classifier.weight: \(7, 4, 1, 1\) in the file, \(3, 4"):
        api.load_model(base, tmp_path / "a.pth", options=("num_classes=3", *options))
    torch.save({"w": torch.ones(1)}, tmp_path / "b.pth")
    with pytest.raises(ConfigError, match=r"leaves num_classes open, and the weights in \S*b.pth do not tell it"):
        api.load_model(base, tmp_path / "b.pth", options=options)
    with pytest.raises(ConfigError, match="has no 'crop_size'"):
        (tmp_path / "c.py").write_text("from segkit.config import ref\nmodel = dict(num_classes=ref('crop_size'))\n")
        api.load_model(tmp_path / "c.py", tmp_path / "a.pth")


def test_classes_are_counted_through_a_key_map():
    """The files of the fixture tell 19 classes apart."""
    content, _ = fixture("mmseg", "deeplabv3plus_r50-d8")
    weights = {name: torch.empty(shape, device="meta") for name, shape in content["names"].items()}
    assert content["names"]["decode_head.conv_seg.weight"][0] == 19
    assert count_classes(weights, lambda number: build("deeplabv3plus_r50", number, device="meta")) == 19
    assert count_classes(weights, lambda number: build("fcn_hr18", number, device="meta")) is None


def test_key_maps_that_do_the_same_are_named_together():
    """An HRNet's names are changed alike by the maps of U-Net and HRNet: neither is named alone."""
    network = build("fcn_hr18", 19, ("model.backbone.pretrained=None",), device="meta")
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = {
        name.replace("head.classifier.", "decode_head.conv_seg.").replace("head.convs.", "decode_head.convs."): shape
        for name, shape in own.items()
    }
    maps = {name: all_maps()[name] for name in ("mmseg_unet", "mmseg_hrnet", "mmseg_psa")}
    name, keymap = find_map.choose(shapes, network, maps)
    assert name == "mmseg_hrnet, mmseg_unet" and keymap.source == "mmsegmentation"


def test_espnets_files_do_not_say_their_data_set(tmp_path, monkeypatch, capsys):
    """CamVid's weights normalized as Cityscapes' lose most of their score: what the model does is said."""
    espnet = load_map("espnet_c")
    monkeypatch.setattr(find_map, "all_maps", lambda: {"espnet_c": espnet})
    cfg = sections()
    cfg["model"] = load_config("segkit:_base_/models/espnet_c.py", ("num_classes=11",))["model"]
    model = build_model(cfg["model"])
    theirs = {name: name for name in model.state_dict()}
    plain = KeyMap("a test", tuple((f"^{name}$", name) for name in theirs), unsaid=espnet.unsaid)
    monkeypatch.setattr(find_map, "all_maps", lambda: {"espnet_c": plain})
    monkeypatch.setattr(find_map, "OWN_NAMES", KeyMap("none", ((".", None),)))
    torch.save(model.state_dict(), tmp_path / "espnet_p_2_q_8_camvid.pth")
    api.load_model(cfg, tmp_path / "espnet_p_2_q_8_camvid.pth")
    err = capsys.readouterr().err
    assert "espnet_p_2_q_8_camvid.pth: its files do not say which data set they are of, Cityscapes or CamVid" in err
    assert "the mean 72.39, 82.91, 73.16" in err and "model.backbone.mean" in err
    assert load_map("mmseg").caution(model) == "" != load_map("espnet").caution(model)


@pytest.mark.parametrize("name", ["VGG16", "VGG16Dilated", "ABNResNet", "ICNet"])
def test_encoders_say_that_their_weights_are_trained(name):
    """A click model with xavier=True draws the weights of all others anew."""
    options = {"VGG16": dict(channels=(4, 4, 4, 4, 4), hidden=0), "VGG16Dilated": dict(channels=(4, 4, 4, 4, 4))}
    options |= {"ABNResNet": dict(depth=18), "ICNet": dict(encoder="resnet18")}
    with torch.device("meta"):
        for pretrained in (True, None):
            encoder = BACKBONES.get(name)(pretrained=pretrained, **options[name])
            assert encoder.is_pretrained is bool(pretrained)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps with Adam, whose state has shapes."""
    folder = tmp_path_factory.mktemp("run")
    loop_of(adam(), folder, standard_hooks()).fit()
    return folder


def adam() -> dict:
    cfg = sections()
    cfg["optimizer"] = dict(type="AdamW", lr=1e-3, groups=[dict(kind="norm", decay=0.0)])
    cfg["loop"] |= dict(steps=3)
    return cfg | {"val": None}


def entry_with(name: str, value: object) -> Callable[[dict], None]:
    def change(state: dict) -> None:
        state["optimizer"]["state"][0][name] = value

    return change


def group_with(name: str, value: object) -> Callable[[dict], None]:
    def change(state: dict) -> None:
        state["optimizer"]["param_groups"][0][name] = value

    return change


BAD_STATES: dict[str, tuple[object, str]] = {
    **{
        f"{key} {value!r}": ({key: value}, f"'{key}' is ")
        for key, value in [
            ("step", "3"),
            ("step", 3.0),
            ("step", -1),
            ("step", True),
            ("step", None),
            ("stage", "x"),
            ("stage", -1),
            ("best", "high"),
            ("best", float("nan")),
            ("best", [1]),
            ("rng", None),
            ("rng", {}),
            ("scored", "a"),
            ("optimizer", [1]),
            ("scaler", 5),
            ("criterion", None),
            ("runner", "x"),
            ("images", "12"),
        ]
    },
    "stage 4": ({"stage": 4}, "is of stage 4, and this run has the stages 0 to 0"),
    "no generators": ({"rng": []}, "'rng' does not fit this run"),
    "generators of text": ({"rng": ["a"]}, "'rng' does not fit this run"),
    "short generators": ({"rng": [{"cpu": torch.zeros(3, dtype=torch.uint8)}]}, "'rng' does not fit this run"),
    "optimizer is empty": ({"optimizer": {}}, "'optimizer' does not fit this run .KeyError: 'param_groups'"),
    "groups are a number": ({"optimizer": {"state": {}, "param_groups": 3}}, "'optimizer' does not fit"),
    "one group": ({"optimizer": OPTIMIZER}, "its optimizer has groups of .1. parameters, this run's has .8, 4."),
    "another shape": (entry_with("exp_avg", torch.ones(3)), r"exp_avg of parameter 0 has the shape \(3,\)"),
    "not finite": (entry_with("step", torch.tensor(float("nan"))), "optimizer's step of parameter 0 is not finite"),
    "entry is a list": (lambda state: state["optimizer"]["state"].update({0: [1]}), "'optimizer' does not fit"),
    "parameters are text": (group_with("params", "abc"), "its optimizer has groups of"),
    "criterion of another loss": ({"criterion": {"w": torch.ones(1)}}, "'criterion' does not fit"),
    "weights with NaN": (lambda state: state["model"][FIRST].fill_(float("nan")), f"{FIRST} holds nan"),
    "weights of another network": (lambda state: state["model"].pop(FIRST), f"1 are missing, first {FIRST}"),
    **{
        f"no {key}": ((lambda state, key=key: state.pop(key)), f"'{key}'|weights only")
        for key in ("optimizer", "scaler", "criterion", "runner", "step", "stage", "rng", "best")
    },
}
"""Changes of a checkpoint after which no run can go on from it, and the sentence."""


@pytest.mark.parametrize("case", BAD_STATES)
def test_states_that_no_run_goes_on_from(case, run, tmp_path):
    change, sentence = BAD_STATES[case]
    state = checkpoint.read(run / "last.pt")
    if isinstance(change, dict):
        state |= change
    else:
        change(state)
    torch.save(state, tmp_path / "bad.pt")
    loop = loop_of(adam(), tmp_path)
    with pytest.raises(CheckpointError, match=sentence) as found:
        loop.load_state_dict(checkpoint.read(tmp_path / "bad.pt"), tmp_path / "bad.pt")
    assert str(found.value).startswith(str(tmp_path / "bad.pt")) and len(str(found.value)) < 800
