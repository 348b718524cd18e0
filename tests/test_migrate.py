"""segkit migrate mmseg: configs of mmsegmentation's form become the networks that its names and shapes belong to.

tests/fixtures/migrate holds configs, in our words, of the 35 systems whose tensor names tests/fixtures/mmseg has.
"""

import ast
import re
from pathlib import Path

import pytest
import torch

from segkit.cli.main import main
from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.migrate.mmseg import Migrated, migrate, translated
from segkit.migrate.reading import read
from segkit.recipe.compose import loaded
from segkit.registry import ConfigError, build_model, without_start_weights
from segkit.schema import check
from tests.oracles import fixture

FOLDER = Path(__file__).parent / "fixtures/migrate"
ATTENTION = ("ccnet", "danet", "dnl", "emanet", "gcnet", "isanet", "nonlocal")
CONTEXT = ("apcnet", "dmnet", "encnet", "upernet", "fpn", "fastfcn")
OWN = {
    "ann": "mmseg_ann",
    "psanet": "mmseg_psa",
    "pointrend": "mmseg_pointrend",
    "icnet": "mmseg_icnet",
    "bisenetv1": "mmseg_bisenet",
    "bisenetv2": "mmseg_bisenetv2",
    "cgnet": "mmseg_cgnet",
    "erfnet": "mmseg_erfnet",
    "fast": "mmseg_fast_scnn",
    "stdc1": "mmseg_stdc",
    "unet-s5-d16": "mmseg_unet",
}
"""Key map of a system, by the beginning of its name; the others have the map "mmseg"."""

MODELS = sorted(path.stem for path in FOLDER.glob("*.py"))
QUICK = ("pspnet_r50-d8", "pointrend_r50", "stdc1")


def key_map_of(name: str) -> str:
    system = re.split("_", name)[0]
    maps = {**dict.fromkeys(ATTENTION, "mmseg_attention"), **dict.fromkeys(CONTEXT, "mmseg_context"), **OWN}
    if name.startswith(("ocrnet_hr", "fcn_hr")):
        return "mmseg_hrnet"
    return maps.get(system.split("-")[0], maps.get(system, "mmseg_attention" if system == "ocrnet" else "mmseg"))


@pytest.mark.parametrize("name", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MODELS])
def test_networks_have_mmsegmentations_tensors(name):
    cfg = loaded(migrate(FOLDER / f"{name}.py").text, "migrated.py")
    check(cfg)
    with torch.device("meta"):
        model = build_model(without_start_weights(cfg["model"]))
    names = fixture("mmseg", name)[0]["names"]
    assert len(names) > 100
    load_map(key_map_of(name)).check({key: tuple(shape) for key, shape in names.items()}, model.state_dict())


def test_all_the_listed_systems_are_there():
    assert len(MODELS) == 35


def sections(name: str) -> dict:
    return migrate(FOLDER / f"{name}.py").sections


def test_a_whole_config():
    """Every value of PSPNet's, as configs/pspnet has them; mmengine's schedule ends one step sooner."""
    ours = load_config("segkit:pspnet/pspnet_r50_80k_cityscapes_512x1024.py")
    found = sections("pspnet_r50-d8")
    assert found["model"] == ours["model"]
    assert [{**row} for row in found["losses"]] == ours["losses"]
    assert found["train"]["transforms"] == ours["train"]["transforms"]
    for part, split in (("train", "train"), ("val", "val")):
        assert found[part]["dataset"] == dict(type="Cityscapes", root="data/cityscapes/", split=split)
    assert (found["train"]["batch_size"], found["train"]["workers"]) == (2, 2)
    assert "test" not in found and "transforms" not in found["val"]
    assert found["optimizer"] == ours["optimizer"]
    assert found["schedule"] == {**ours["schedule"], "warmup": dict(steps=0, law="mmengine")}
    assert found["loop"] == {**ours["loop"], "log_every": 50}


def test_losses_of_heads_that_have_several():
    assert [(row["type"], row["on"], row.get("weight")) for row in sections("danet_r50-d8")["losses"]] == [
        ("CrossEntropy", "logits", None),
        ("CrossEntropy", "pam.logits", None),
        ("CrossEntropy", "cam.logits", None),
        ("CrossEntropy", "aux0.logits", 0.4),
    ]
    assert sections("encnet_r50-d8")["losses"][1] == dict(
        type="ClassPresence", on="presence", target="mask", weight=0.2
    )
    hard = dict(type="OHEM", loss=dict(type="CrossEntropy", average="all"), threshold=0.7, min_kept=10000)
    stdc = sections("stdc1")
    assert stdc["losses"][0] == dict(hard, per_image=True, average="all", on="logits", target="mask")
    assert stdc["losses"][3] == dict(type="Detail", on="aux2.detail", train_ignored=True)
    assert stdc["model"]["align_corners"] is True
    assert sections("pointrend_r50")["losses"][1] == dict(
        type="AtPoints",
        loss=dict(type="CrossEntropy", average="all"),
        on=["points.logits", "points.places"],
        target="mask",
    )
    assert sections("cgnet_fcn")["losses"] == [
        dict(type="CrossEntropy", class_weight=[2.5] + [1.0] * 18, on="logits", target="mask")
    ]
    assert {row["type"] for row in sections("fast_scnn")["losses"][:1]} == {"BinaryCrossEntropy"}
    assert [row["on"] for row in sections("ocrnet_hr18")["losses"]] == ["logits", "coarse.logits"]


def test_schedules_and_windows():
    assert sections("pointrend_r50")["schedule"] == dict(
        type="Poly", power=0.9, min_lr=1e-4, warmup=dict(steps=200, factor=0.1, law="mmengine")
    )
    assert sections("unet-s5-d16_fcn")["inference"] == dict(mode="slide", crop=(256, 256), stride=(170, 170))
    assert sections("cgnet_fcn")["model"]["backbone"]["mean"] == (72.5, 83.0, 73.25)


# configs of one's own


def written(place: Path, text: str, base: str = "pspnet_r50-d8") -> Path:
    """A config over one of the fixtures, in a copy of their folder."""
    for source in (FOLDER / f"{base}.py", *(FOLDER / "_base_").glob("*.py")):
        target = place / source.relative_to(FOLDER)
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    file = place / "mine.py"
    file.write_text(f"_base_ = './{base}.py'\n{text}", encoding="utf-8")
    return file


def migrated(place: Path, text: str) -> Migrated:
    made = migrate(written(place, text))
    check(loaded(made.text, "made.py"))
    return made


OWN_DATA = """
info = dict(classes=("soil", "crop"), palette=[[0, 0, 0], [0, 200, 0]])
mine = dict(
    _delete_=True,
    type="BaseSegDataset",
    metainfo=info,
    data_root="fields",
    data_prefix=dict(img_path="pictures", seg_map_path="labels"),
    ann_file="splits/train.txt",
    seg_map_suffix="_class.png",
    reduce_zero_label=False,
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="RandomResize", scale=(800, 600), ratio_range=(0.8, 1.25), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(320, 256), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.3, direction="vertical"),
        dict(type="RandomRotate", prob=0.5, degree=15),
        dict(type="PackSegInputs"),
    ],
)
train_dataloader = dict(batch_size=6, dataset=mine)
model = dict(decode_head=dict(num_classes=2), auxiliary_head=dict(num_classes=2))
"""


def test_own_data(tmp_path):
    found = migrated(tmp_path, OWN_DATA).sections
    assert found["model"]["num_classes"] == 2
    assert found["train"]["dataset"] == dict(
        type="Folder",
        root="fields",
        classes=("soil", "crop"),
        images="pictures",
        masks="labels",
        split="splits/train.txt",
        palette=((0, 0, 0), (0, 200, 0)),
        mask_suffix="_class",
    )
    assert found["train"]["transforms"] == [
        dict(type="RandomResize", scale=(600, 800), ratio_range=(0.8, 1.25)),
        dict(type="RandomCrop", size=(320, 256), cat_max_ratio=0.75),
        dict(type="Flip", p=0.3, direction="vertical"),
        dict(type="RandomRotate", degrees=15, p=0.5),
    ]


ADE20K = """
zero = dict(type="LoadAnnotations", reduce_zero_label=True)
ade = dict(_delete_=True, type="ADE20KDataset", data_root="ade")
resize = dict(type="Resize", scale=(2048, 512), keep_ratio=True)
train_dataloader = dict(
    dataset=dict(
        **ade,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[zero, dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True)],
    )
)
val_dataloader = dict(
    dataset=dict(
        **ade,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[resize, zero],
    )
)
test_dataloader = val_dataloader
"""

VOC = """
voc = dict(
    type="PascalVOCDataset",
    data_root="VOC2012",
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
    ann_file="ImageSets/Segmentation/train.txt",
    pipeline=[dict(type="Pad", size=(512, 480))],
)
aug = dict(voc, ann_file="ImageSets/Segmentation/aug.txt", data_prefix=dict(seg_map_path="SegmentationClassAug"))
train_dataloader = dict(dataset=dict(_delete_=True, type="ConcatDataset", datasets=[voc, aug]))
"""


def test_ade20k_and_voc(tmp_path):
    (tmp_path / "a").mkdir()
    found = migrated(tmp_path / "a", ADE20K).sections
    assert found["train"]["dataset"] == dict(type="ADE20K", root="ade", split="train")
    assert found["train"]["transforms"] == [dict(type="RandomResize", scale=(512, 2048), ratio_range=(0.5, 2.0))]
    assert found["val"] == dict(
        dataset=dict(type="ADE20K", root="ade", split="val"),
        transforms=[dict(type="Resize", size=(512, 2048), keep_ratio=True)],
    )
    found = migrated(tmp_path, VOC).sections
    assert found["train"]["dataset"] == dict(type="VOC", root="VOC2012", split="train_aug")
    assert found["train"]["transforms"] == [dict(type="Pad", size=(480, 512))]


TRAINING = """
optim_wrapper = dict(
    _delete_=True,
    type="AmpOptimWrapper",
    dtype="bfloat16",
    accumulative_counts=2,
    clip_grad=dict(max_norm=1, norm_type=2),
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"head": dict(lr_mult=10.0)}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", milestones=[60000, 72000], gamma=0.2, by_epoch=False, begin=1000, end=80000),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best="mIoU"), logger=dict(interval=10))
custom_hooks = [dict(type="EMAHook", momentum=0.001), dict(type="EarlyStoppingHook", monitor="mIoU", patience=4)]
randomness = dict(seed=7)
load_from = "start.pth"
"""


def test_training(tmp_path):
    found = migrated(tmp_path, TRAINING).sections
    assert found["optimizer"] == dict(
        type="AdamW",
        lr=6e-5,
        betas=(0.9, 0.999),
        weight_decay=0.01,
        # mmengine gives what a key finds that key's factors alone: normalizations of heads decay
        groups=[
            dict(kind="norm", match=r"^(?!(head|aux)\.)", decay=0.0),
            dict(match=r"^(head|aux)\.", lr=10.0),
        ],
    )
    # milestones are counted from the warm-up's end, as the schedule is
    assert found["schedule"] == dict(
        type="MultiStep", milestones=(59000, 71000), gamma=0.2, warmup=dict(steps=1000, factor=0.001, law="mmengine")
    )
    assert found["loop"] == dict(
        steps=80000,
        eval_every=8000,
        accumulate=2,
        clip=1.0,
        amp="bf16",
        log_every=10,
        save_every=8000,
        keep=3,
        monitor="mIoU",
        patience=4,
        ema=0.999,
        seed=7,
    )
    assert found["init"] == dict(path="start.pth")


LOSS = "model = dict(decode_head=dict(loss_decode={}))"
LOSSES = {
    'dict(type="DiceLoss", use_sigmoid=False, loss_weight=3.0)': dict(
        type="Dice", squared=True, eps=2e-3, per_image=True, joint=True, mask_ignored=False, absent="count", weight=3.0
    ),
    'dict(type="LovaszLoss", reduction="none", _delete_=True)': dict(type="LovaszSoftmax"),
    'dict(type="OhemCrossEntropy", thres=0.9, min_kept=131072, _delete_=True)': dict(
        type="OHEM", loss=dict(type="CrossEntropy"), threshold=0.9, min_kept=131072
    ),
    'dict(type="CrossEntropyLoss", avg_non_ignore=True)': dict(type="CrossEntropy"),
}


def test_other_losses(tmp_path):
    for text, row in LOSSES.items():
        if "Dice" in text:
            text = text.replace("dict(", "dict(_delete_=True, ", 1)
        found = migrated(tmp_path, LOSS.format(text)).sections["losses"][0]
        assert found == {**row, "on": "logits", "target": "mask"}, text


# what is refused

REFUSED = {
    "model = dict(backbone=dict(type='ResNeSt'))": r"model.backbone.type = 'ResNeSt': no encoder .* 'ResNet'",
    "model = dict(decode_head=dict(type='MyHead'))": r"model.decode_head.type = 'MyHead': no head",
    "model = dict(decode_head=dict(own_key=3))": r"model.decode_head.own_key = 3: segkit has nothing for this key",
    "model = dict(neck=dict(type='BFP'))": "model.neck.type = 'BFP': no neck",
    "model = dict(backbone=dict(dilations=(1, 2, 4, 8)))": r"model.backbone.dilations = \(1, 2, 4, 8\)",
    "model = dict(backbone=dict(norm_cfg=dict(type='GN', num_groups=8)))": r"model.backbone.norm_cfg = .*'GN'",
    "model = dict(data_preprocessor=dict(bgr_to_rgb=False))": "model.data_preprocessor.bgr_to_rgb = False",
    "model = dict(decode_head=dict(in_index=7))": r"in_index = 7: the encoder gives 4 maps",
    "train_dataloader = dict(dataset=dict(type='MyDataset'))": "type = 'MyDataset': .* write BaseSegDataset",
    "train_dataloader = dict(dataset=dict(data_prefix=dict(img_path='x')))": "data_prefix = .*split of this set",
    "train_dataloader = dict(dataset=dict(pipeline=[dict(type='Albu')]))": r"pipeline\[0\].type = 'Albu': no transform",
    "param_scheduler = [dict(type='OneCycleLR', by_epoch=False)]": "'OneCycleLR': no schedule",
    "param_scheduler = [dict(type='PolyLR', by_epoch=True)]": r"param_scheduler\[0\].by_epoch = True",
    "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=9)": "by_epoch = False: train_cfg cou",
    "train_cfg = dict(type='MyLoop')": "train_cfg.type = 'MyLoop': no training loop",
    "val_dataloader = dict(dataset=dict(metainfo=dict(classes=('road',))))": "metainfo = .*all its classes",
    "model = dict(backbone=dict(stem_channels=128, type='ResNetV1d'))": "stem_channels = 128",
    "model = dict(backbone=dict(norm_cfg=dict(requires_grad=False)))": "segkit trains normalizations",
    "model = dict(decode_head=dict(norm_cfg=dict(eps=0.01)))": "norm_cfg = .* has eps = 1e-05",
    "default_hooks = dict(stop=dict(type='Mine'))": "default_hooks.stop.type = 'Mine': no hook",
    "custom_hooks = [dict(type='EarlyStoppingHook', monitor=m) for m in ('mAcc', 'mIoU')]": (
        "monitor = 'mIoU': another hook sets loop.monitor = 'mAcc'"
    ),
    "optim_wrapper = dict(constructor='Layers')": "optim_wrapper.constructor = 'Layers'",
    "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}))": "custom_keys.norm = ",
    "custom_hooks = [dict(type='MyHook')]": r"custom_hooks\[0\].type = 'MyHook': no hook",
    "custom_imports = dict(imports=['mine'])": "custom_imports = .*never run",
    "val_evaluator = dict(type='DepthMetric')": "val_evaluator.type = 'DepthMetric'",
    "model = dict(decode_head=3)": "model.decode_head = 3: must be",
    "model = dict(data_preprocessor=dict(std=[1, 'x', 2]))": r"std = \(1, 'x', 2\): must be a list of numbers",
    "model = dict(decode_head=dict(in_index=[]))": "in_index = .* names no map",
    "model = dict(decode_head=dict(norm_cfg=3))": "norm_cfg = 3",
    "val_evaluator = dict(iou_metrics=3)": "iou_metrics = 3: must be a list",
    "model = 3": "model = 3: must be a dict",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_segkit_has_not_is_refused_by_its_key(text, tmp_path):
    with pytest.raises(ConfigError, match=REFUSED[text]) as found:
        migrate(written(tmp_path, text))
    assert "\n" not in str(found.value) and str(tmp_path / "mine.py") in str(found.value)


def paths_of(value, path=()):
    """The place of each value of nested dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in inner:
        yield (*path, key)
        yield from paths_of(item, (*path, key))


def with_value(value, path, new):
    """A copy with another value at a place."""
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: with_value(value[path[0]], path[1:], new)}
    return [with_value(item, path[1:], new) if i == path[0] else item for i, item in enumerate(value)]


@pytest.mark.parametrize("name", [pytest.param(m, marks=() if m == QUICK[0] else pytest.mark.slow) for m in MODELS])
def test_values_of_any_form_are_migrated_or_refused_in_a_sentence(name):
    whole = read(FOLDER / f"{name}.py")
    for path in paths_of(whole):
        for new in (None, 5, "x", [], [{}], [[1], "x"], {"a": 1}, -1e999):
            try:
                translated(with_value(whole, path, new), FOLDER / f"{name}.py")
            except ConfigError as error:
                assert "\n" not in str(error), (path, new)


def test_the_part_with_a_value_of_another_form_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.migrate.mmseg.migrate_model", lambda part: len(part.values["backbone"]["depth"]))
    message = (
        r"mine\.py: model has a value of another form than mmsegmentation's \(object of type 'int' has no len\(\)\)"
    )
    with pytest.raises(ConfigError, match=message):
        migrate(written(tmp_path, ""))


def test_the_name_of_a_file_is_no_code():
    text = Migrated({"loop": {"steps": 3}}, [], 'x"""\nopen("pwned", "w")\n""".py').text
    tree = ast.parse(text)
    assert [type(node) for node in tree.body] == [ast.Expr, ast.Assign] and isinstance(tree.body[0].value, ast.Constant)


CODE = {
    "import os": "import os",
    "open('pwned', 'w')": "open",
    "x = open('pwned', 'w')": "open",
    "x = __import__('os').system('touch pwned')": "__import__",
    "x = [].__class__": "__class__",
    "x = dict.fromkeys('ab')": "dict.fromkeys",
    "x = (lambda: 3)()": "lambda",
    "x = f'{1:>9}'": "1:>9",
    "x = f'{1!r}'": "1!r",
    "x = f'{[].__class__}'": "__class__",
    "x = {}\nx.update(open('pwned', 'w'))": "open",
    "x = []\nx.append(1)": "x.append",
    "x = {}\nx.update([1])": "x.update",
    "x = {1: 2 for y in range(3) if y}": "for y in",
    "x = [0 for a in range(1000) for b in range(1000)]": "too large",
    "x = 'a' * 90000\ny = x + x": "too large",
    "x = 'a' * 90000\ny = f'{x}{x}'": "too large",
    "x = [0] * 10\n" + "x = [x, x]\n" * 20: "more than",
    "x = [0]\nx[0] = x": "more than",
    "x = [y for y in range(3) if y]": "for y in",
    "def model(): pass": "def model",
    "for x in range(3): pass": "for x",
    "x = 10**9": "10 \\*\\* 9",
    "x = list(range(1000000))": "too large",
    "x = [0] * 1000000000": "too large",
    "x = 'a' * 1000000": "too large",
    "x = 9 ** 9": "9 \\*\\* 9",
    "x = ((((10000 * 10000) * 10000) * 10000) << 3)": "<<",
    "x = '{{ fileDirname }}'": "mmengine fills in",
    "x = _base_.nothing": "no base has",
    "x = missing": "no value above it",
    "x = 1 / 0": "division by zero",
    "x = dict(a=1)['b']": "names nothing",
    "x = (": "is not Python",
    "x = 1\0": "zero bytes",
    "_base_ = ['a.py', open('pwned', 'w')]": "_base_ must be",
    "_base_ = '../../secret.py'": "secret.py",
    "_base_ = '/etc/passwd'": "no .py file in",
    "_base_ = 'mmdet::models/x.py'": "another package",
    "_base_ = 'mine.py'": "base of itself",
    "_base_ = 5": "_base_ must be",
    "_base_ = dict(a=1)": "_base_ must be",
    "x = [[b for b in range(90000)] for a in range(90000)]": "computes too much",
    "x = [len(list(range(90000))) for a in range(90000)]": "computes too much",
    "x = ['a' * 90000 for a in range(90000)]": "computes too much",
    "x = list(range(90000))\ny = [sum(x) for a in range(90000)]": "computes too much",
}


@pytest.mark.parametrize("text", CODE)
def test_nothing_of_the_file_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.py").write_text("model = dict()\n", encoding="utf-8")
    folder = tmp_path / "configs" / "mine"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=CODE[text]):
        read(folder / "mine.py")
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("imports", ["dict()", "[['os']]", "5", "['os']", "['mmdet.models', dict()]"])
def test_imports_of_any_form_are_refused(imports, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"custom_imports = dict(imports={imports})\nmodel = dict(type='EncoderDecoder')\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"custom_imports.*code of other files is never run"):
        migrate(file, model_only=True)


def test_deep_nesting_is_refused(tmp_path):
    file = tmp_path / "deep.py"
    for text in ("x = " + "[" * 5000 + "]" * 5000, "x = " + "-" * 60000 + "1", "x = 1" + " + 1" * 60000):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"not Python|too deeply"):
            read(file)


def test_values_as_mmengine_reads_them(tmp_path):
    (tmp_path / "base.py").write_text("a = dict(b=1, c=dict(d=2, e=3))\nn = 4\nitems = [dict(x=1)]\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text(
        "_base_ = ['base.py']\n"
        "a = dict(b=_base_.n * 2, c=dict(_delete_=True, f='{{_base_.a.c.d}}'))\n"
        "items = [dict(y=[int(k * 0.5) for k in range(4)])]\n"
        "first, second = (-1, +2)\n"
        "items[0]['z'] = {**a, 'w': not first}\n"
        "m: int = max(3, len(items))\n"
        "keys = {f'stage{i}.{j}': i * j for i, n in enumerate([1, 2]) for j in range(n)}\n"
        "keys.update({'a': 0}, b=1)\n",
        encoding="utf-8",
    )
    found = read(tmp_path / "mine.py")
    assert found["a"] == dict(b=8, c=dict(f=2))
    assert found["items"] == [dict(y=[0, 0, 1, 1], z=dict(b=8, c=dict(f=2), w=False))]
    assert found["keys"] == {"stage0.0": 0, "stage1.0": 0, "stage1.1": 1, "a": 0, "b": 1}
    assert (found["n"], found["first"], found["second"], found["m"]) == (4, -1, 2, 3)


def test_two_bases_that_set_one_name(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text("_base_ = ['a.py', 'b.py']\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="two of its bases set 'x'"):
        read(tmp_path / "mine.py")


def test_the_command(tmp_path, capsys):
    source, out = str(FOLDER / "fcn_r50-d8.py"), tmp_path / "fcn.py"
    assert main(["migrate", "mmseg", source, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"written: {out}" in printed and "note: the encoder starts from timm's" in printed and "SyncBN" in printed
    check(load_config(out))
    assert main(["migrate", "mmseg", source, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["migrate", "mmseg", source, "--out", str(out), "--force", "--model-only"]) == 0
    assert set(load_config(out)) == {"model", "losses"}
    capsys.readouterr()
    assert main(["migrate", "mmseg", source]) == 0
    assert capsys.readouterr().out.startswith('"""fcn_r50-d8.py of mmsegmentation')
    for wrong in ("nothing.py", str(FOLDER), str(FOLDER / "_base_/cityscapes.py")):
        assert main(["migrate", "mmseg", wrong]) == 2
        assert "Error: " in capsys.readouterr().err


def test_a_config_of_0_x(tmp_path):
    file = tmp_path / "old.py"
    file.write_text("model = dict(type='EncoderDecoder')\ndata = dict(samples_per_gpu=2)\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mmsegmentation 0\.x \(data\)"):
        migrate(file)
