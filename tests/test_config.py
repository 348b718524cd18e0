"""The config loader and the check: merging, references, overrides, origins, and every kind of typo."""

import textwrap

import pytest

from segkit.config import dump, load_config
from segkit.registry import ConfigError
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
            'from segkit.config import ref\nmodel = dict(a=ref("modle.b"), b=1)\n',
            "has no 'modle.b'; did you mean 'model'",
        ),
        ('from segkit.config import ref\nmodel = dict(a=ref("model.b"), b=ref("model.a"))\n', "goes in a circle"),
        ("model = dict(\n", "own.py:1: SyntaxError"),
        ("model = dict(a=unknown)\n", "own.py:1: NameError"),
        ('_base_ = "missing.py"\n', "missing.py: no such config file"),
        ('_base_ = "own.py"\n', "is a base of itself"),
    ],
)
def test_bad_files_name_the_place(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write("own.py", text))


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
        ("losses.0.type", "CrosEntropy", "losses.0.type: = 'CrosEntropy': no such loss; did you mean 'CrossEntropy'"),
        ("losses.0.wieght", 1.0, "losses.0.wieght: CrossEntropy has no argument 'wieght'; did you mean 'weight'"),
        ("model.head.in_channels", (3,), "model.head.in_channels: segkit sets this itself; remove it"),
        ("model.head.num_classes", 3, "model.head.num_classes: segkit sets this itself; remove it"),
        ("model.head.widht", 3, "model.head.widht: TinyHead has no argument 'widht'"),
        ("model.head", {}, "model.head: type is missing; there are:"),
        ("model.head", "FCN", r"model.head: expected dict\(type=...\), got 'FCN'"),
        ("model.backbone.type", "nowhere.file:Net", "model.backbone.type: = 'nowhere.file:Net'"),
        ("train.dataset.type", "Shape", "train.dataset.type: = 'Shape': no such data set; did you mean 'Shapes'"),
        ("train.transforms.0.type", "Flipp", "train.transforms.0.type: = 'Flipp'.*did you mean 'Flip'"),
        ("optimizer.type", "Sgd", "no such optimizer; did you mean 'SGD'"),
        ("optimizer.groups", [dict(mach="x")], "optimizer.groups: no such key 'mach'; did you mean 'match'"),
        ("schedule.type", "Polly", "no such schedule; did you mean 'Poly'"),
        ("inference", dict(mod="slide"), "inference.mod: InferenceSettings has no argument 'mod'"),
        ("inference", dict(tta=dict(scale=[1])), "inference.tta.scale: TTASettings has no argument 'scale'"),
        ("losses", dict(type="CrossEntropy"), "losses: expected a list"),
        ("init", dict(drop=[]), "init.path: InitSettings needs this argument"),
        ("test", dict(one=dict(dataset=dict(type="Nothing"))), "test.one.dataset.type: = 'Nothing'"),
        ("runner", dict(type="Semantik"), "no such runner; did you mean 'Semantic'"),
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
