"""The config loader and the check: merging, references, overrides, origins, and every kind of typo."""

import importlib
import math
import multiprocessing
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from segkit import config as config_module
from segkit.config import find_config, load_config
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from segkit.runners.training import run_folder
from segkit.schema import check
from tests.tiny import sections


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write_file


BASE = """
    from segkit.config import ref
    num_classes = 3
    model = dict(num_classes=ref("num_classes"), backbone=dict(type="A", depth=50, width=64), head=dict(type="H"))
    optimizer = dict(type="SGD", lr=ref("_lr"))
"""


def test_bases_merge_and_origins_are_kept(write):
    base = write("base.py", 'model = dict(backbone=dict(type="A", depth=50, width=64), num_classes=3)\n')
    path = write("own.py", '_base_ = ["base.py"]\nmodel = dict(backbone=dict(depth=101))\n')
    cfg = load_config(path)
    assert cfg["model"] == dict(backbone=dict(type="A", depth=101, width=64), num_classes=3)
    assert cfg.origin("model.backbone.depth") == path
    assert cfg.origin("model.backbone.width") == base


def test_another_type_starts_afresh(write):
    write("base.py", 'optimizer = dict(type="SGD", lr=0.1, momentum=0.9)\n')
    path = write("own.py", '_base_ = "base.py"\noptimizer = dict(type="AdamW", lr=1e-3)\n')
    assert load_config(path)["optimizer"] == dict(type="AdamW", lr=1e-3)


def test_lists_replace(write):
    write("base.py", 'hooks = [dict(type="A"), dict(type="B")]\n')
    assert load_config(write("own.py", '_base_ = "base.py"\nhooks = [dict(type="C")]\n'))["hooks"] == [dict(type="C")]


def test_refs_follow_files_and_options(write):
    text = """
        from segkit.config import ref
        num_classes = 3
        model = dict(num_classes=ref("num_classes"), head=dict(width=ref("model.num_classes")))
    """
    path = write("own.py", text)
    assert load_config(path)["model"] == dict(num_classes=3, head=dict(width=3))
    assert load_config(path, ["num_classes=7"])["model"] == dict(num_classes=7, head=dict(width=7))
    assert "num_classes" not in load_config(path)


def test_options_reach_lists_and_make_new_keys(write):
    path = write("own.py", 'losses = [dict(type="A", weight=1.0)]\nmodel = dict()\n')
    cfg = load_config(path, ["losses.0.weight=0.5", "model.backbone.type=Timm", "model.flag=true", "model.size=(3,4)"])
    assert cfg["losses"][0]["weight"] == 0.5
    assert cfg["model"] == dict(backbone=dict(type="Timm"), flag=True, size=(3, 4))
    assert cfg.origin("losses.0.weight") == "--cfg-options"


def test_yaml_has_the_same_keys(write):
    path = write("own.yaml", "num_classes: 4\nmodel:\n  num_classes: ref(num_classes)\n  head: {type: H}\n")
    assert load_config(path)["model"] == dict(num_classes=4, head=dict(type="H"))


def test_dump_loads_back(write, tmp_path):
    cfg = load_config(write("own.py", 'model = dict(a=(1, 2), b=None, c="x", d=[1.5, True])\nloop = dict(steps=3)\n'))
    assert dict(load_config(write("again.py", dump(cfg)))) == dict(cfg)


@pytest.mark.parametrize(
    "text, message",
    [
        ("modell = dict()\n", r"'modell' is no section and no ref\(\) uses it; did you mean 'model'"),
        (
            "qqqq = 1\n",
            r"'qqqq' is no section .* uses it; remove it, or write _qqqq for a name that the file alone uses$",
        ),
        (
            'from segkit.config import ref\nmodel = dict(a=ref("modle.b"), b=1)\n',
            "has no 'modle.b'; did you mean 'model'",
        ),
        ('from segkit.config import ref\nmodel = dict(a=ref("model.b"), b=ref("model.a"))\n', "goes in a circle"),
        ("model = dict(\n", "own.py:1: SyntaxError"),
        ("model = dict(a=unknown)\n", "own.py:1: NameError"),
        (
            '_base_ = "missing.py"\n',
            r"own\.py: its _base_ 'missing\.py': no such config file; looked at /.*/missing\.py",
        ),
        ('_base_ = "own.py"\n', "is a base of itself"),
    ],
)
def test_bad_files_name_the_place(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write("own.py", text))


def test_a_name_of_a_base_that_nothing_reads(write):
    """The way out is not another name of the base but what reads it."""
    folder = '_base_ = "segkit:_base_/datasets/folder.py"\n'
    own_model = write("own.py", f"{folder}model = dict(num_classes=2)\n")
    message = r"folder\.py: 'num_classes' is no section .* write num_classes=ref\('num_classes'\) in section model"
    for file in (own_model, "segkit:_base_/datasets/folder.py"):
        with pytest.raises(ConfigError, match=message):
            load_config(file)
    write("base.py", "size = 3\n")
    with pytest.raises(
        ConfigError, match=r"base\.py: 'size' is no .*; write ref\('size'\) where its value belongs, or"
    ):
        load_config(write("own.py", '_base_ = "base.py"\nloop = dict(steps=3)\n'))


def test_two_bases_may_not_set_the_same_leaf(write):
    write("a.py", "loop = dict(steps=1)\n")
    write("b.py", "loop = dict(steps=2)\n")
    with pytest.raises(ConfigError, match=r"a\.py.*b\.py both set 'loop.steps'"):
        load_config(write("own.py", '_base_ = ["a.py", "b.py"]\n'))


def test_a_base_shared_by_two_bases_is_no_conflict(write):
    write("root.py", "loop = dict(steps=1)\n")
    write("a.py", '_base_ = "root.py"\n')
    write("b.py", '_base_ = "root.py"\n')
    assert load_config(write("own.py", '_base_ = ["a.py", "b.py"]\n'))["loop"] == dict(steps=1)


@pytest.mark.parametrize("option", ["losses.3.weight=1", "novalue", "model.flag.deep=1"])
def test_bad_options(write, option):
    path = write("own.py", 'losses = [dict(type="A")]\nmodel = dict(flag=1)\n')
    with pytest.raises(ConfigError, match="--cfg-options"):
        load_config(path, [option])


def test_a_sound_config_passes():
    check(sections())


def edited(path: str, value) -> dict:
    cfg = sections()
    *parents, last = path.split(".")
    node = cfg
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = value
    return cfg


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("modell", {}, "modell: no such section; did you mean 'model'"),
        ("train.batchsize", 3, "train.batchsize: TrainSettings has no argument 'batchsize'; did you mean 'batch_size'"),
        ("loop.step", 3, "loop.step: LoopSettings has no argument 'step'; did you mean 'steps'"),
        ("losses.0.type", "CrosEntropy", "losses.0.type = 'CrosEntropy': no such loss; did you mean 'CrossEntropy'"),
        ("losses.0.wieght", 1.0, "losses.0.wieght: CrossEntropy has no argument 'wieght'; did you mean 'weight'"),
        ("model.head.in_channels", (3,), "model.head.in_channels: segkit sets this itself; remove it"),
        ("model.head.num_classes", 3, "model.head.num_classes: segkit sets this itself; remove it"),
        ("model.head.widht", 3, "model.head.widht: TinyHead has no argument 'widht'"),
        ("model.head", {}, "model.head: type is missing; available:"),
        ("model.head", "FCN", r"model.head: expected dict\(type=...\), got 'FCN'"),
        ("model.backbone.type", "nowhere.file:Net", "model.backbone.type = 'nowhere.file:Net'"),
        ("train.dataset.type", "Shape", "train.dataset.type = 'Shape': no such data set; did you mean 'Shapes'"),
        ("train.transforms.0.type", "Flipp", "train.transforms.0.type = 'Flipp'.*did you mean 'Flip'"),
        ("optimizer.type", "Sgd", "no such optimizer; did you mean 'SGD'"),
        (
            "optimizer.groups",
            [dict(mach="x")],
            "optimizer.groups.0.mach: GroupSettings has no argument 'mach'; did you mean 'match'",
        ),
        ("schedule.type", "Polly", "no such schedule; did you mean 'Poly'"),
        ("inference", dict(mod="slide"), "inference.mod: InferenceSettings has no argument 'mod'"),
        ("inference", dict(tta=dict(scale=[1])), "inference.tta.scale: TTASettings has no argument 'scale'"),
        ("losses", dict(type="CrossEntropy"), "losses: expected a list"),
        ("init", dict(drop=[]), "init.path: InitSettings needs this argument"),
        ("test", dict(one=dict(dataset=dict(type="Nothing"))), "test.one.dataset.type = 'Nothing'"),
        ("runner", dict(type="Semantik"), "no such runner; did you mean 'Semantic'"),
        ("loop.steps", "many", r"^loop.steps = 'many': must be a whole number"),
        ("loop.steps", -1, "^loop.steps = -1: must be a whole number of 0 or more"),
        ("loop.clip", "x", "^loop.clip = 'x': must be a number"),
        ("loop.amp", "half", "^loop.amp = 'half': must be one of 'off', 'bf16', 'fp16'"),
        ("loop.better", "x", "^loop.better = 'x': must be None or 'higher' or 'lower'"),
        ("train.batch_size", 0, "^train.batch_size = 0: must be a whole number of 1 or more"),
        ("train.workers", 1.5, "^train.workers = 1.5: must be a whole number"),
        ("inference", dict(mode="slid"), "^inference.mode = 'slid': must be 'whole' or 'slide'"),
        ("inference", dict(crop=0), "^inference.crop = 0: must be None or a whole number of 1 or more or 2 values"),
        ("inference", dict(crop=(5, 0)), "^inference.crop.1 = 0: must be a whole number of 1 or more"),
        ("train.transforms.0.p", float("nan"), "^train.transforms.0.p = nan: must be a number from 0 to 1"),
        ("optimizer.lr", "1e-3", "^optimizer.lr = '1e-3': must be a number from 0 to 1000000; write it without quotes"),
        ("inference", dict(tta=dict(flip="no")), "^inference.tta.flip = 'no': must be True or False"),
        ("losses.0.weight", "x", r"^losses.0.weight = 'x': must be a number of 0 or more or a dict\(...\)"),
        (
            "losses.0.weight",
            dict(value=1.0, warmup=-1),
            "^losses.0.weight.warmup = -1: must be a whole number of 0 or more",
        ),
        ("losses.0.at", "y", "^losses.0.at = 'y': must be 'image' or 'native'"),
        ("init", dict(path=3), "^init.path = 3: must be text"),
    ],
)
def test_the_check_names_path_and_remedy(path, value, message):
    with pytest.raises(ConfigError, match=message):
        check(edited(path, value))


def test_the_check_lists_all_problems_and_their_files(write):
    path = write("own.py", 'model = dict(num_classes=2, backbone=dict(type="Nope"))\nloop = dict(stepss=1)\n')
    with pytest.raises(ConfigError) as error:
        check(load_config(path))
    lines = str(error.value).split("\n")
    assert len(lines) == 3  # the head, the backbone and the key of the loop
    assert all("own.py" in line for line in lines)


def test_a_name_whose_place_a_later_file_replaces_is_no_typo(write):
    write("base.py", 'from segkit.config import ref\nsize = 3\ntrain = dict(transforms=[dict(size=ref("size"))])\n')
    assert load_config(write("own.py", '_base_ = "base.py"\ntrain = dict(transforms=[])\n'))["train"] == dict(
        transforms=[]
    )


ROOT = Path(__file__).parents[1]


@pytest.fixture
def import_path(monkeypatch):
    """The import path, put back afterwards, and no module of the tests' configs in it or loaded."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(config_module, "_folders_of_configs", set())
    yield sys.path
    for name in ("my_sets", "my_values"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def test_packaged_configs_are_named_from_anywhere(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config("segkit:quickstart/semantic.py", ["loop.steps=5"])
    assert cfg["loop"]["steps"] == 5 and cfg.file == "segkit:quickstart/semantic.py"
    assert cfg.origin("loop.log_every") == "segkit:quickstart/semantic.py"
    path = write("my.py", '_base_ = ["segkit:_base_/models/unet_r34.py"]\nnum_classes = 3\n')
    own = load_config(path)
    assert own["model"]["num_classes"] == 3 and own["model"]["head"] == dict(type="UNetHead")
    assert own.origin("model.head.type") == "segkit:_base_/models/unet_r34.py"
    assert own.origin("model.num_classes") == "segkit:_base_/models/unet_r34.py"


def test_the_ten_lines_of_the_readme(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text().partition("# my.py\n")[2].partition("```")[0]
    assert len(text.splitlines()) < 10
    cfg = load_config(write("my.py", text))
    check(cfg)
    assert (cfg["model"]["num_classes"], cfg["loop"]["steps"]) == (3, 5000)


def test_yaml_has_the_numbers_and_booleans_of_version_1_2(write):
    text = """
model: {a: 1e-3, b: 1E+2, c: 010, d: 0o10, e: 0x1F, f: off, g: yes, h: True, i: ~, j: 12:30, k: 1_000, l: 2020-01-01}
train: {a: .inf, b: -.5, c: 1., d: "1", e: null, f: +3, g: 1.5.2}
loop: &loop {steps: 1, amp: off}
val:
  <<: *loop
  steps: 3
"""
    cfg = load_config(write("own.yaml", text))
    assert cfg["model"] == dict(
        a=0.001, b=100.0, c=10, d=8, e=31, f="off", g="yes", h=True, i=None, j="12:30", k="1_000", l="2020-01-01"
    )
    assert cfg["train"] == dict(a=float("inf"), b=-0.5, c=1.0, d="1", e=None, f=3, g="1.5.2")
    assert cfg["val"] == dict(steps=3, amp="off") and cfg["loop"] == dict(steps=1, amp="off")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.yaml", "loop: {steps: 1}\nmodel: {}\nloop: {steps: 2}\n", "line 3: 'loop' stands here and in line 1"),
        ("a.yaml", "loop:\n  steps: 1\n  steps: 2\n", "line 3: 'steps' stands here and in line 2"),
        ("a.yaml", "just a text", "a config is a mapping of sections by name"),
        ("a.yaml", "- 1\n- 2\n", "a config is a mapping of sections by name"),
        ("a.yaml", "1: {a: 2}\n", "a config is a mapping of sections by name"),
        ("a.yaml", "~: {a: 2}\n", "a config is a mapping of sections by name"),
        ("a.py", "raise SystemExit(3)\n", "a.py:1: SystemExit: 3"),
        ("a.py", "x = 1\nimport sys\nsys.exit()\n", "a.py:3: SystemExit"),
        ("a.py", "import os as model\n", "'model' is a section of configs, and a module here"),
        ("a.py", "def loop():\n    return 1\n", "'loop' is a section of configs, and a function or class here"),
        ("a.py", "model = dict(\n", "a.py:1: SyntaxError: '\\(' was never closed$"),
    ],
)
def test_files_that_are_no_configs(write, name, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(name, text))


def test_python_configs_are_utf_8(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("model = dict(name='Größe')\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.py.*UTF-8"):
        load_config(path)


def test_a_written_config_reads_back(tmp_path):
    cfg = dict(
        model=dict(path=Path("a") / "b", least=float("-inf"), most=float("inf"), rate=np.float32(0.5), n=np.int64(3)),
        losses=[dict(weights=(1.0, float("nan")))],
    )
    (tmp_path / "out.py").write_text(dump(cfg))
    read = load_config(tmp_path / "out.py")
    assert read["model"] == dict(path="a/b", least=float("-inf"), most=float("inf"), rate=0.5, n=3)
    assert math.isnan(read["losses"][0]["weights"][1])


def test_packaged_configs_from_yaml(write):
    path = write("my.yaml", "_base_: segkit:_base_/models/unet_r34.py\nnum_classes: 4\n")
    assert load_config(path)["model"]["num_classes"] == 4


def test_an_installed_package_has_its_configs_inside(tmp_path, monkeypatch):
    for name, steps in (("package/configs", 1), ("configs", 2)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.py").write_text(f"loop = dict(steps={steps})\n")
    folders = (tmp_path / "package/configs", tmp_path / "configs")
    monkeypatch.setattr(config_module, "PACKAGED_FOLDERS", folders)
    cfg = load_config("segkit:a.py")
    assert cfg["loop"]["steps"] == 1 and cfg.origin("loop.steps") == "segkit:a.py"
    (folders[0] / "a.py").unlink()
    folders[0].rmdir()
    assert load_config("segkit:a.py")["loop"]["steps"] == 2


def test_in_the_repository_files_are_shown_as_they_are_typed(monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config("configs/unet/unet_r34_40k_voc_512x512.py")
    assert cfg.origin("model.head.type") == "configs/_base_/models/unet_r34.py"


@pytest.mark.parametrize(
    "base, message",
    [
        (
            "configs/_base_/models/unet_r34.py",
            r"my\.py: its _base_ 'configs/_base_/models/unet_r34\.py': no such config file; looked at "
            r"{folder}/configs/_base_/models/unet_r34\.py; packaged configs are named 'segkit:FOLDER/NAME\.py'; "
            r"did you mean 'segkit:_base_/models/unet_r34\.py'\?$",
        ),
        ("../_base_/schedules/sgd_2k.py", r"; did you mean 'segkit:_base_/schedules/sgd_20k\.py'\?$"),
        (
            "segkit:_base_/models/unet_r35.py",
            rf"looked at {ROOT}/segkit/configs/_base_/models/unet_r35\.py and {ROOT}/configs/_base_/models/unet_r35\.py"
            r"; did you mean 'segkit:_base_/models/unet_r34\.py'\?$",
        ),
        ("owm.py", r"looked at {folder}/owm\.py; did you mean 'own\.py'\?$"),
        ("elsewhere.py", r"looked at {folder}/elsewhere\.py; packaged configs are named 'segkit:FOLDER/NAME\.py'$"),
    ],
)
def test_a_missing_base_says_where_it_was_looked_for(write, tmp_path, base, message):
    write("own.py", "loop = dict(steps=1)\n")
    with pytest.raises(ConfigError, match=message.replace("{folder}", str(tmp_path))):
        load_config(write("my.py", f"_base_ = [{base!r}]\n"))


@pytest.mark.parametrize("name", ["configs/quickstart/semantic.py", "quickstart/semantic.py", "segkit:semantic.py"])
def test_a_missing_file_of_the_command_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^{name}: no such config file; looked at /.*semantic\.py") as error:
        find_config(name)
    assert name == "segkit:semantic.py" or "did you mean 'segkit:quickstart/semantic.py'?" in str(error.value)


@pytest.mark.parametrize("name", ["segkit:quickstart/semantic.py", "segkit:semantic.py", "a/semantic.py"])
def test_the_work_folder_of_a_packaged_config(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert run_folder(None, name) == Path("work_dirs/semantic")


MY_SETS = "from segkit.data.semantic.shapes import Shapes\n\n\nclass Mine(Shapes):\n    pass\n"


def test_modules_beside_the_config_are_found(write, tmp_path, monkeypatch, import_path):
    """While it is read and while it is used, from any directory; also in worker processes that are spawned."""
    monkeypatch.chdir(tmp_path.parent)
    write("exp/my_sets.py", MY_SETS)
    write("exp/my_values.py", "LENGTH = 7\n")
    own = "import my_values\ntrain = dict(dataset=dict(type='my_sets:Mine', length=my_values.LENGTH))\n"
    path = write("exp/own.py", own)
    before = list(sys.path)
    cfg = load_config(path)
    assert cfg["train"]["dataset"]["length"] == 7
    check(cfg, needed=())
    load_config(path)
    assert sys.path == [*before, str(tmp_path / "exp")]
    worker = multiprocessing.get_context("spawn").Process(target=importlib.import_module, args=("my_values",))
    worker.start()
    worker.join()
    assert worker.exitcode == 0


def test_modules_beside_a_base_are_found_too(write, tmp_path, import_path):
    write("my_sets.py", MY_SETS)
    write("base.py", "train = dict(dataset=dict(type='my_sets:Mine'))\n")
    check(load_config(write("exp/own.py", "_base_ = ['../base.py']\n")), needed=())


def test_packaged_bases_add_nothing_to_the_import_path(write, tmp_path, import_path):
    before = list(sys.path)
    load_config(write("own.py", '_base_ = ["segkit:_base_/models/unet_r34.py"]\nnum_classes = 3\n'))
    assert sys.path == [*before, str(tmp_path)]


def test_two_configs_with_modules_of_one_name_are_told_apart(write, tmp_path, import_path):
    """Python would give the first module to both."""
    for folder in ("a", "b"):
        write(f"{folder}/my_sets.py", MY_SETS)
        write(f"{folder}/own.py", "train = dict(dataset=dict(type='my_sets:Mine'))\n")
    load_config(tmp_path / "a/own.py")
    message = (
        rf"train\.dataset\.type = 'my_sets:Mine': {tmp_path}/b/my_sets\.py has the name of {tmp_path}/a/my_sets\.py"
    )
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "b/own.py")


def test_a_module_or_class_that_is_missing(write, import_path):
    write("my_sets.py", MY_SETS)
    with pytest.raises(ConfigError, match=r"is its package installed, beside the config, or on PYTHONPATH\?"):
        check(load_config(write("a.py", "train = dict(dataset=dict(type='my_set:Mine'))\n")), needed=())
    with pytest.raises(ConfigError, match=r"my_sets\.py has no 'Mime'; did you mean 'Mine'"):
        check(load_config(write("b.py", "train = dict(dataset=dict(type='my_sets:Mime'))\n")), needed=())
