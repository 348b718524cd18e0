"""Key maps of box-supervised methods on every config of their published tables: the names of the six published networks
there are lists of, changed to what depth and classes make of them, match one to one; and files in the published form.
"""

import re
from pathlib import Path

import pytest
import torch

from segkit.config import load_config
from segkit.convert.keymap import load_map
from segkit.convert.published import read_published
from segkit.registry import build_model, without_start_weights
from tests.instances.test_networks import names

CONFIGS = Path(__file__).parents[2] / "configs/box_supervised"
PUBLISHED = sorted(
    path for part in ("boxlevelset", "box2mask", "boxinst", "apro") for path in (CONFIGS / part).glob("*.py")
)
BLOCKS_50, BLOCKS_101 = 6, 23
"""Of the third stage of a ResNet (He et al., CVPR 2016, table 1); the other stages have the same in both."""
CLASSES = {"coco": 80, "voc": 20, "isaid": 15}
OF_CLASSES = r"^(bbox_head\.solo_cate|bbox_head\.conv_cls|panoptic_head\.cls_embed)\."
LISTS = {
    "boxlevelset_r50": "boxlevelset_r50",
    "boxlevelset_r101": "boxlevelset_r50",
    "boxlevelset_r101_dcn": "boxlevelset_r101_dcn",
    "box2mask_c_r50": "boxlevelset_r50",
    "box2mask_c_r101": "boxlevelset_r50",
    "box2mask_c_r101_dcn": "boxlevelset_r101_dcn",
    "box2mask_t_r50": "box2mask_r50",
    "box2mask_t_r101": "box2mask_r50",
    "box2mask_t_swin_t": "box2mask_swin_t",
    "box2mask_t_swin_l": "box2mask_swin_l",
    "boxinst_r50": "boxinst_r50",
    "boxinst_r101": "boxinst_r50",
    "apro_solov2_r50": "boxlevelset_r50",
    "apro_solov2_r101": "boxlevelset_r50",
    "apro_mask2former_r50": "box2mask_r50",
    "apro_mask2former_r101": "box2mask_r50",
    "apro_mask2former_swin_t": "box2mask_swin_t",
    "apro_mask2former_swin_l": "box2mask_swin_l",
}
REPEATED = {
    "apro_solov2_r101",
    "apro_mask2former_r101",
    "apro_mask2former_swin_t",
    "box2mask_c_r101",
    "box2mask_t_r101",
}
"""Systems whose parts stand in other configs; their builds take longest."""
LEVEL_FEATURES = ".levelset_bottom."
"""Part of the names of what APro's networks do not have."""


def system_of(path: Path) -> str:
    """-> the part of a config's name that says method and backbone."""
    return re.match(r"(.*)_\d+[xe]_", path.stem)[1]


def expected(path: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """-> the key map of a config's method and the names and shapes of its published file."""
    system = system_of(path)
    source = LISTS[system]
    shapes = {name: tuple(shape) for name, shape in names(source).items()}
    if system.startswith("apro"):
        shapes = {name: shape for name, shape in shapes.items() if LEVEL_FEATURES not in name}
    if "r101" in system and "r50" in source:
        last = rf"^backbone\.layer3\.{BLOCKS_50 - 1}\."
        block = {name: shape for name, shape in shapes.items() if re.match(last, name)}
        for i in range(BLOCKS_50, BLOCKS_101):
            shapes |= {re.sub(last, f"backbone.layer3.{i}.", name): shape for name, shape in block.items()}
    classes = next(number for data, number in CLASSES.items() if f"_{data}" in path.stem)
    for name, shape in shapes.items():
        if re.match(OF_CLASSES, name):
            shapes[name] = (shape[0] - 80 + classes, *shape[1:])
    return source.split("_")[0], shapes


def own(path: Path) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build_model(without_start_weights(load_config(path)["model"])).state_dict()


def test_every_published_system_has_a_config():
    assert {system_of(path) for path in PUBLISHED} == set(LISTS)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (system_of(path) in REPEATED or "_coco" not in path.stem))
        for path in PUBLISHED
    ],
    ids=lambda path: path.stem,
)
def test_names_of_every_published_config_match_one_to_one(path):
    key_map, shapes = expected(path)
    state = own(path)
    assert f"{len(state)} tensors matched" in load_map(key_map).check(shapes, state)


@pytest.mark.parametrize(
    "system",
    ["boxlevelset/boxlevelset_r101_3x_voc", "box2mask/box2mask_t_swin_t_50e_coco", "boxinst/boxinst_r101_3x_coco"],
)
def test_a_file_in_the_published_form_is_read_and_renamed(system, tmp_path):
    """As mmcv saves: weights beside what it knows of the run and the optimizer. The tensors are views of one number."""
    path = CONFIGS / f"{system}.py"
    key_map, shapes = expected(path)
    one = torch.ones(())
    content = {
        "meta": {"epoch": 36, "CLASSES": ("person", "bicycle")},
        "state_dict": {f"module.{name}": one.expand(shape) for name, shape in shapes.items()},
        "optimizer": {"state": {0: {"exp_avg": one}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }
    torch.save(content, tmp_path / "published.pth")
    weights, meta = read_published(tmp_path / "published.pth")
    renamed = load_map(key_map).apply(weights)
    assert {name: value.shape for name, value in renamed.items()} == {n: v.shape for n, v in own(path).items()}
    assert meta["meta"]["epoch"] == 36 and tuple(meta["meta"]["CLASSES"]) == ("person", "bicycle")
