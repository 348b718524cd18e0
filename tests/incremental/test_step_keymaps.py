"""Key maps of RCIL and DKD: the names of their networks one to one, and what they fold and join."""

import gzip
import json

import numpy as np
import pytest
import torch

from segkit.backbones.rcil_resnet import TwoBranchBlock
from segkit.config import load_config
from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.registry import build_model
from tests.archs_table import build
from tests.incremental.steps_oracle import FOLDER, by_rule, stored
from tests.incremental.test_mib_network import ROOT
from tests.incremental.test_mib_network import names as mib_names
from tests.incremental.test_oracles_steps import dkd_net

MAPS = {name: load_map(name) for name in ("mib", "csseg", "rcil", "star", "dkd", "ssul", "microseg")}
"""Those of class steps, which share names."""

ENDS = {"weight": (256, 1, 1), "bias": ()}
STEP_1 = ("model.type=GrowingSegmentor", "model.grown=[5]")


def rcil_names() -> dict[str, tuple[int, ...]]:
    """MiB's names, and for each 3x3 convolution and each of the pyramid those of the second branch: step 0's form."""
    shapes = {name: shape for name, _, shape in mib_names()}
    doubled = {"convs.conv2.": "convs.conv2_new.", "convs.bn2.": "convs.bn2_new."}
    doubled |= {"map_convs.": "map_convs_new.", "map_bn.": "map_bn_new."}
    second = {name.replace(a, b): shape for a, b in doubled.items() for name, shape in shapes.items() if a in name}
    return {f"module.{name}": shape for name, shape in (shapes | second).items()}


def with_biases(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The form of later steps: the convolutions of the first branch have a bias."""
    folded = [name for name in shapes if name.endswith("convs.conv2.weight") or "map_convs." in name]
    return shapes | {name.replace("weight", "bias"): shapes[name][:1] for name in folded}


def test_the_names_of_rcil_match_one_to_one():
    block = json.loads(gzip.decompress((FOLDER / "rcil_block_and_head.json.gz").read_bytes()))["shapes"]
    ends = {name.removeprefix("block.") for name in block if name.startswith("block.")}
    shapes = rcil_names()
    bottleneck = "module.body.mod2.block2."
    assert {name.removeprefix(bottleneck) for name in shapes if name.startswith(bottleneck)} == ends
    assert {f"module.{name}" for name in block if name.startswith("head.")} <= set(shapes)
    model = build("rcil_r101_os16", 16, STEP_1, device="meta")
    for file, dropped in ((shapes, 0), (with_biases(shapes), 33 + 4)):
        report = load_map("rcil").check(file, model.state_dict())
        assert f"{len(model.state_dict())} tensors matched, {dropped} dropped" in report
        assert choose(file, model, MAPS)[0] == "rcil"


def test_mibs_own_network_keeps_its_map():
    shapes = {f"module.{name}": shape for name, _, shape in mib_names()}
    assert choose(shapes, build("mib_r101_os16", 16, STEP_1, device="meta"), MAPS)[0] == "mib"


@torch.no_grad()
def test_a_released_block_computes_what_it_did():
    """The block after RCIL's merge: its 3x3 convolution has a bias, and its normalization is the identity."""
    arrays = {name: torch.from_numpy(value) for name, value in stored("rcil.npz").items()}
    shapes = json.loads(gzip.decompress((FOLDER / "rcil_block_and_head.json.gz").read_bytes()))["shapes"]
    prefix = "body.mod2.block2."
    file = {
        name.replace("block.", prefix): by_rule(name, tuple(shape))
        for name, shape in shapes.items()
        if name.startswith("block.") and not name.endswith("num_batches_tracked")
    }
    at = f"{prefix}convs."
    file |= {f"{at}conv2.{end}": arrays[f"merged/conv2.{end}"] for end in ("weight", "bias")}
    file |= {f"{at}bn2.{end}": torch.ones(4) for end in ("weight", "running_var")}
    file |= {f"{at}bn2.{end}": torch.zeros(4) for end in ("bias", "running_mean")}
    block = TwoBranchBlock(8, (4, 4, 8), stride=1, dilation=1).eval()
    ours = load_map("rcil").apply(file)
    block.load_state_dict({name.removeprefix("backbone.mod2.block2."): value for name, value in ours.items()})
    wanted = arrays["merged_in_branch1/block_out0"]
    assert float((block(arrays["input"]) - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())


def test_biases_of_the_pyramid_by_hand():
    """Two convolutions of one channel: scales 2 and 3, deviations 2 and 3, so that each bias arrives as it is."""
    file = {
        "head.map_bn.weight": torch.tensor([2.0, -3.0]),
        "head.map_bn.bias": torch.tensor([1.0, 10.0]),
        "head.map_bn.running_var": torch.tensor([4.0, 9.0]),
        "head.map_convs.0.bias": torch.tensor([0.5]),
        "head.map_convs.1.bias": torch.tensor([4.0]),
    }
    ours = load_map("rcil").apply(file)
    assert "head.map_convs.0.bias" not in ours
    assert ours["head.map_bn.bias"].tolist() == pytest.approx([1.5, 14.0], abs=1e-4)
    assert file["head.map_bn.bias"].tolist() == [1.0, 10.0]


def test_the_names_of_dkd_match_one_to_one():
    """DKD's network is STAR's behind an auxiliary output."""
    shapes = json.loads(gzip.decompress((FOLDER / "star_deeplabv3_resnet101_15-1.json.gz").read_bytes()))["shapes"]
    shapes = {f"module.{name}": tuple(shape) for name, shape in shapes.items() if not name.startswith("cls.")}
    later = {f"module.cls.{i}.{end}": (n, *shape) for i, n in enumerate((1, 15, 1)) for end, shape in ENDS.items()}
    options = ["num_classes=16", "model.grown=[1]", "model.backbone.pretrained=none"]
    with torch.device("meta"):
        model = build_model(load_config(ROOT / "configs/_base_/incremental/dkd_net.py", options)["model"])
    assert "0 dropped" in load_map("dkd").check(shapes | later, model.state_dict())
    assert choose(shapes | later, model, MAPS)[0] == "dkd"


@pytest.mark.parametrize("sizes", [(1, 3), (1, 3, 2)])
def test_the_auxiliary_output_comes_first(sizes):
    file = {
        f"cls.{i}.{end}": by_rule(f"cls.{i}.{end}", (n, *s)) for i, n in enumerate(sizes) for end, s in ENDS.items()
    }
    ours, wanted = load_map("dkd").apply(file), dkd_net(sizes[2:]).state_dict()
    assert set(ours) == set(wanted)
    assert all(np.array_equal(ours[name].numpy(), wanted[name].float().numpy()) for name in wanted)


def test_the_names_of_microseg_match_one_to_one():
    """Encoder and pyramid are SSUL's; heads of 5 unknown outputs, the background, three classes and two."""
    ssul, heads = (
        json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))["shapes"]
        for name in ("ssul_shapes", "microseg_head_5-1-3-2")
    )
    shapes = {name: tuple(shape) for name, shape in ssul.items() if not name.startswith("classifier.head")}
    shapes |= {f"classifier.{name}": tuple(shape) for name, shape in heads.items() if not name.startswith("aspp")}
    options = ["num_classes=5", "model.grown=[2]", "model.backbone.pretrained=none", "model.head.type=MicroSegHead"]
    with torch.device("meta"):
        model = build_model(load_config(ROOT / "configs/_base_/incremental/ssul_net.py", options)["model"])
    assert "0 dropped" in load_map("microseg").check(shapes, model.state_dict())
    assert choose(shapes, model, MAPS)[0] == "microseg"
