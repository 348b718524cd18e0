"""SegFormer under published weights' names gives the outputs of mmsegmentation and Hugging Face, at odd sizes too."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from segkit import api
from segkit.cli.main import main
from segkit.config import load_config
from segkit.convert.find_map import fit
from segkit.convert.keymap import export, load_map
from segkit.models.layers import resize
from tests.archs_table import build
from tests.oracles import fixture, image
from tests.test_layer_decay import PUBLISHED, given
from tests.test_oracles_modern import CASES, compare, weights_of

ROOT = Path(__file__).parents[1]
MMSEG, ORIGINAL = "segformer_mit-b0", "segformer_original_mit-b0"

MODELS = {
    "segformer_mit-b0_ade": (MMSEG, "mmseg_segformer", 150, ()),
    "segformer_mit-b1_cityscapes": (MMSEG, "mmseg_segformer", 19, ("model.backbone.name='mit_b1'",)),
    "hf_segformer-b0": (ORIGINAL, "hf_segformer", 150, ("model.backbone.norm_eps=1e-5",)),
}
"""Fixture -> config, key map, classes, options."""

SIZES = ("b2", "b3", "b4", "b5")
"""Of these only names, shapes and counts of parameters were made."""


def loaded(model: str) -> tuple[nn.Module, dict, dict]:
    """The network with the reference's weights, in eval."""
    config, key_map, classes, options = MODELS[model]
    content, stored = fixture("modern", model)
    net = build(config, classes, options, device="meta")
    keys = load_map(key_map)
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    net.load_state_dict(keys.apply(weights_of(content["names"])), strict=True, assign=True)
    return net.eval(), content, stored


@torch.inference_mode()
@pytest.mark.parametrize(
    "model, cases",
    [
        ("segformer_mit-b0_ade", "AB"),
        ("hf_segformer-b0", "AT"),
        pytest.param("segformer_mit-b1_cityscapes", "AB", marks=pytest.mark.slow),
    ],
)
def test_outputs_are_the_published(model, cases):
    net, content, stored = loaded(model)
    for case in cases:
        x = image(*CASES[case])
        features = net.backbone(x)
        logits = net.head(features)["logits"]
        outputs = {f"backbone.{i}": feature for i, feature in enumerate(features)}
        if "hf" in model:
            outputs |= {"logits": logits}
        else:
            outputs |= {"decode_head": logits, "final": resize(logits, like=x)}
        compare(outputs, case, stored, content)


@pytest.mark.parametrize("model", MODELS)
def test_counts_and_epsilons_are_the_published(model):
    config, _, classes, options = MODELS[model]
    content, _ = fixture("modern", model)
    net = build(config, classes, options, device="meta")
    assert sum(p.numel() for p in net.parameters()) == content["params"]["total"]
    for kind, names in content["eps"].items():
        layer, eps = kind.split()
        ours = [module.eps for module in net.modules() if isinstance(module, getattr(nn, layer))]
        total = names[-1] if isinstance(names[-1], int) else len(names)
        assert len(ours) == total and set(ours) == {float(eps)}, kind


@pytest.mark.parametrize("size", [pytest.param(s, marks=pytest.mark.slow if s in ("b2", "b4") else ()) for s in SIZES])
def test_names_and_counts_of_the_larger_ones(size):
    path = ROOT / f"tests/fixtures/modern/segformer_mit-{size}_ade.json.gz"
    content = json.loads(gzip.decompress(path.read_bytes()))
    net = build(MMSEG, 150, (f"model.backbone.name='mit_{size}'",), device="meta")
    load_map("mmseg_segformer").check(content["names"], net.state_dict())
    assert sum(p.numel() for p in net.parameters()) == content["params"]["total"]


def test_rates_and_decays_are_mmsegmentations():
    name = "segformer_mit-b0_ade"
    section = load_config(ROOT / "configs/segformer/segformer_mit-b0_160k_ade20k_512x512.py")["optimizer"]
    found = given(build(MMSEG, 150, device="meta"), section)
    base = PUBLISHED[name]["base"]
    assert (section["lr"], section["weight_decay"]) == (base["lr"], base["weight_decay"])
    keys = load_map("mmseg_segformer")
    seen = set()
    for published, values in PUBLISHED[name]["factors"].items():
        own = keys.rename(published)[0]
        whole = next((end for end in keys.splits if own.endswith(end)), None)
        parts = [own.removesuffix(whole) + part for part, _ in keys.splits[whole]] if whole else [own]
        for part in parts:
            assert found[part] == pytest.approx(tuple(values), rel=1e-6), part
        seen |= set(parts)
    assert seen == found.keys()


@pytest.mark.parametrize("form", ["segformer", "mmseg_segformer", "hf_segformer"])
def test_the_way_back_gives_the_same_file(form):
    """Also to the authors' form, whose released files hold a layer more that is never used."""
    net = build(MMSEG if form == "mmseg_segformer" else ORIGINAL, 5)
    content = export(net.state_dict(), form)
    file = content.get("state_dict", content)
    if form == "segformer":
        assert file["decode_head.linear_c4.proj.weight"].shape == (256, 256)
        assert "backbone.block3.1.attn.kv.weight" in file and "decode_head.linear_fuse.bn.running_var" in file
        file |= {"decode_head.conv_seg.weight": torch.ones(5, 256, 1, 1), "decode_head.conv_seg.bias": torch.ones(5)}
    else:
        published = fixture("modern", "hf_segformer-b0" if form == "hf_segformer" else "segformer_mit-b0_ade")[0]
        assert file.keys() == published["names"].keys()
    found = fit(file, net)
    assert found.name == form
    again = found.apply()
    assert all(torch.equal(again[name], value) for name, value in net.state_dict().items())


ENCODERS = {
    "segformer": ("backbone.", "", "head"),
    "mmseg_segformer": ("backbone.", "", ""),
    "hf_segformer": ("segformer.", "segformer.", "classifier"),
}
"""Form -> beginning of the encoder's names in a whole file and in its own, classifier of ImageNet."""


@pytest.mark.parametrize("form", ENCODERS)
def test_a_training_starts_from_files_of_the_encoder(form):
    before, after, classifier = ENCODERS[form]
    net = build(ORIGINAL, 5)
    content = export(net.state_dict(), form)
    file = content.get("state_dict", content)
    file = {after + name.removeprefix(before): value for name, value in file.items() if name.startswith(before)}
    if classifier:
        file |= {f"{classifier}.weight": torch.ones(1000, 256), f"{classifier}.bias": torch.ones(1000)}
    weights = fit(file, net, drop=("head.",)).apply()
    assert torch.equal(weights["backbone.encoder.stages_3.norm.weight"], net.backbone.encoder.stages_3.norm.weight)
    assert len(weights) == len(net.backbone.state_dict())


@torch.inference_mode()
def test_a_checkpoint_becomes_a_file_of_hugging_face_and_loads_back(tmp_path):
    config = tmp_path / "config.py"
    model = load_config(ROOT / f"configs/_base_/models/{ORIGINAL}.py", ["num_classes=2"])["model"]
    config.write_text(f"model = {dict(model)!r}\n")
    net = build(ORIGINAL, 2).eval()
    last = {name: value + 1 if value.is_floating_point() else value for name, value in net.state_dict().items()}
    # of a run with a moving average it is the average that was scored
    torch.save({"model": last, "ema": net.state_dict(), "config": {}}, tmp_path / "own.pt")
    file = tmp_path / "model.safetensors"
    assert main(["convert", str(tmp_path / "own.pt"), str(file), "--to", "hf_segformer"]) == 0
    from safetensors import safe_open

    with safe_open(file, "pt") as content:
        assert content.metadata()["format"] == "pt"  # transformers asks for it
        assert "segformer.encoder.block.0.0.attention.self.key.weight" in content.keys()  # noqa: SIM118
    loaded = api.load_model(config, file, device="cpu")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(x)["logits"], net(x)["logits"])


SMP = ("model.align_corners=True", "model.head.align_maps=False", "model.head.dropout=0.0")


@torch.inference_mode()
def test_outputs_are_segmentation_models():
    content, stored = fixture("modern", "smp_segformer_mit_b0")
    net = build(ORIGINAL, 11, SMP, device="meta")
    keys = load_map("smp_segformer")
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    net.load_state_dict(keys.apply(weights_of(content["names"])), strict=True, assign=True)
    net.mean, net.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    assert sum(p.numel() for p in net.parameters()) == content["params"]["total"]
    epsilons = [module.eps for module in net.modules() if isinstance(module, nn.LayerNorm)]
    assert (epsilons.count(1e-5), epsilons.count(1e-6)) == (10, 20)
    x = image(*CASES["A"])
    net.eval()
    outputs = {f"encoder.{i + 2}": feature for i, feature in enumerate(net.backbone(x))}
    compare({**outputs, "logits": resize(net(x)["logits"], like=x, align_corners=True)}, "A", stored, content)


def test_the_head_of_segmentation_models_reads_the_stem_of_a_resnet():
    """The published counts of Segformer on a ResNet-34, whose map of stride 2 is read, too."""
    options = (*SMP, "model.head.num_levels=5", "model.backbone.name='resnet34'")
    net = build(ORIGINAL, 11, options, device="meta")
    assert sum(p.numel() for p in net.parameters()) == 21_879_115
    names = {f"decoder.mlp_stage.{i}.linear.weight": (256, c) for i, c in enumerate((512, 256, 128, 64, 64))}
    renamed = load_map("smp_segformer_stem").apply({name: torch.empty(shape) for name, shape in names.items()})
    state = net.state_dict()
    assert len(renamed) == 5 and all(state[name].shape == value.shape for name, value in renamed.items())
