"""Folders that segmentation_models writes load by themselves: config.json says the network, and nothing is run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segkit import api
from segkit.cli.main import main
from segkit.convert.keymap import load_map
from segkit.convert.smp_folder import SMP_MODELS, describe
from segkit.engine.checkpoint import CheckpointError
from segkit.registry import ConfigError, build_model
from segkit.schema import check
from tests.oracles import fixture, weights_of
from tests.test_oracles_smp import MODELS

LINKNET = {
    "_model_class": "Linknet",
    "activation": None,
    "aux_params": None,
    "classes": 11,
    "decoder_use_norm": "batchnorm",
    "encoder_depth": 5,
    "encoder_name": "resnet34",
    "encoder_weights": "imagenet",
    "in_channels": 3,
}
"""config.json as save_pretrained writes it."""

DESCRIBED = {
    "unet_resnet34": ("Unet", {"decoder_use_batchnorm": True}),
    "unet_resnet34_decoder_attention_type-scse": ("Unet", {"decoder_attention_type": "scse"}),
    "unet_resnet34_decoder_use_norm-False": ("Unet", {"decoder_use_norm": False}),
    "unet_resnet34_encoder_depth-4_decoder_channels": (
        "Unet",
        {"encoder_depth": 4, "decoder_channels": [256, 128, 64, 32]},
    ),
    "unetplusplus_resnet34": ("UnetPlusPlus", {}),
    "manet_resnet34": ("MAnet", {}),
    "linknet_resnet34": ("Linknet", LINKNET),
    "fpn_resnet34": ("FPN", {}),
    "pan_resnet50": ("PAN", {"encoder_name": "resnet50"}),
    "pspnet_resnet34": ("PSPNet", {}),
    "deeplabv3_resnet50": ("DeepLabV3", {"encoder_name": "resnet50"}),
    "deeplabv3plus_resnet34": ("DeepLabV3Plus", {"decoder_atrous_rates": [12, 24, 36]}),
}
"""Fixture -> class, and arguments that its config.json names beside the number of classes."""


@pytest.mark.parametrize("model", DESCRIBED)
def test_the_described_network_has_the_files_names(model):
    kind, values = DESCRIBED[model]
    content, _ = fixture("smp", model)
    cfg = describe({"_model_class": kind, "classes": 11, **values}, "config.json")
    check({"model": cfg["model"]})
    with torch.device("meta"):
        net = build_model(cfg["model"])
    assert "matched" in load_map(MODELS[model][1]).check(content["names"], net.state_dict())


@pytest.mark.parametrize("kind, model", [("Segformer", "smp_segformer_mit_b0"), ("UPerNet", "smp_upernet_mit_b0")])
def test_networks_on_mix_transformers(kind, model):
    content, _ = fixture("modern", model)
    cfg = describe({"_model_class": kind, "classes": 11, "encoder_name": "mit_b0"}, "config.json")
    with torch.device("meta"):
        net = build_model(cfg["model"])
    load_map(model.removesuffix("_mit_b0")).check(content["names"], net.state_dict())
    assert net.align_corners and not net.head.align_corners


def test_every_class_is_tried():
    tried = {kind for kind, _ in DESCRIBED.values()} | {"Segformer", "UPerNet"}
    assert tried == SMP_MODELS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hub")
    (path / "config.json").write_text(json.dumps(LINKNET))
    save_file(weights_of(fixture("smp", "linknet_resnet34")[0]["names"]), path / "model.safetensors")
    return path


@pytest.mark.parametrize("name", ["", "model.safetensors"])
@torch.inference_mode()
def test_a_folder_or_its_file_loads_by_itself(folder, name):
    net = api.load_model(folder / name)
    assert net.num_classes == 11 and not net.training
    stored = weights_of(fixture("smp", "linknet_resnet34")[0]["names"])["segmentation_head.0.weight"]
    assert torch.equal(net.head.classifier.weight, stored)
    assert net.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])  # what its encoders are trained with
    assert net(torch.rand(1, 3, 33, 47))["logits"].shape == (1, 11, 33, 47)


def test_the_command_converts_a_folder(folder, tmp_path, capsys):
    assert main(["convert", str(folder), str(tmp_path / "own.pt"), "--from", "smp"]) == 0
    assert "segmentation_models: 313 tensors matched" in capsys.readouterr().out
    assert api.load_model(tmp_path / "own.pt").config["model"]["head"]["type"] == "LinkNetHead"


BAD = {
    "a class of another kind": ({"_model_class": "Linknett"}, "'Linknett': .* did you mean 'Linknet'"),
    "code": ({"_model_class": "os.system"}, "no network of segmentation_models that segkit reads"),
    "no text": ({"_model_class": ["Unet"]}, r"_model_class = \['Unet'\]"),
    "an encoder with names of its own": ({"encoder_name": "efficientnet-b0"}, "'efficientnet-b0': segkit reads"),
    "another normalization": ({"decoder_use_norm": "layernorm"}, "decoder_use_norm = 'layernorm'"),
    "a depth": ({"encoder_depth": 3}, "encoder_depth = 3: must be 5 or 4"),
    "no number of classes": ({"classes": "11"}, "classes = '11': must be a number"),
    "a value that the network has not": ({"_model_class": "Segformer", "upsampling": 2}, "upsampling = 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case):
    values, message = BAD[case]
    with pytest.raises(ConfigError, match=f"^config.json: .*{message}"):
        describe(LINKNET | values, "config.json")


def test_a_folder_without_weights_and_weights_of_another_size(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LINKNET))
    with pytest.raises(CheckpointError, match=r"has a config.json and no model.safetensors or pytorch_model.bin"):
        api.load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LINKNET | {"encoder_name": "resnet18"}))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no key map matches|does not fit this model"):
        api.load_model(tmp_path)
