"""EoMT under published names gives the outputs of its authors and of Hugging Face, masked attention on and off."""

import gzip
import json
import re
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.config import load_config
from segkit.convert.find_map import NoFit, choose, fit
from segkit.convert.keymap import export, load_map
from segkit.models.query_segmentor import QuerySegmentor
from segkit.registry import build_model
from tests.archs_table import build
from tests.oracles import ROOT, error, fixture, image
from tests.test_oracles_modern import CASES, weights_of

SIZES = CASES | {"S": (2, (128, 128))}
NETWORKS = {
    "eomt_dinov2-s": ("eomt_dinov2-s", "eomt", (128, 160)),
    "eomt_dinov3-s": ("eomt_dinov3-s", "eomt_dinov3_whole", (128, 160)),
    "hf_eomt_dinov2-s": ("eomt_dinov2-s", "hf_eomt", (128, 128)),
}
"""Fixture -> config, key map, size of the position embedding."""

EMBEDDINGS = (".reg_token", ".register_tokens")
"""Further tensors that the reference made as visible embeddings, see weights_of."""


def empty(config: str, *options: str) -> nn.Module:
    """A model of configs/_base_/models without weights."""
    return build(config, 150, ("model.backbone.pretrained=None", *options), device="meta")


def reference(names: dict[str, list[int]]) -> dict[str, Tensor]:
    """The reference's weights; all of masked attention is on."""
    weights = weights_of(names)
    for name, value in weights.items():
        if name.endswith(EMBEDDINGS) or name in ("q.weight", "query.weight"):
            value *= 0.5 * np.sqrt(np.prod(value.shape[1:]))
    return weights | {"attn_mask_probs": torch.ones(4)}


@lru_cache(maxsize=1)
def network(model: str) -> QuerySegmentor:
    config, key_map, size = NETWORKS[model]
    names, keys = fixture("modern", model)[0]["names"], load_map(key_map)
    # on the CPU, since rotary positions are in no file
    net = build(config, 150, ("model.backbone.pretrained=None", f"model.backbone.img_size={list(size)}"))
    keys.check({name: tuple(shape) for name, shape in names.items()}, net.state_dict())
    net.load_state_dict(keys.apply(reference(names)), strict=True, assign=True)
    return net


def found(net: QuerySegmentor, x: Tensor, *, is_masked: bool) -> dict[str, Tensor]:
    """All outputs by the reference's names; in training mode attention is masked, and nothing is dropped out."""
    outputs = net.train(is_masked).head(x, net.backbone)
    way, last = ("masked", 4) if is_masked else ("plain", 0)
    assert len(outputs["class_logits"]) == len(outputs["mask_logits"]) == last + 1
    tensors = {f"{way}.semantic": net.head.semantic_scores(outputs, tuple(x.shape[-2:]))}
    for i in range(last + 1):
        tensors[f"{way}.class_logits.{i}"] = outputs["class_logits"][i]
        tensors[f"{way}.mask_logits.{i}"] = outputs["mask_logits"][i]
    return tensors


@torch.inference_mode()
@pytest.mark.parametrize("model", ["eomt_dinov2-s", "eomt_dinov3-s"])
def test_outputs_are_the_authors(model):
    content, stored = fixture("modern", model)
    net = network(model)
    x = image(*SIZES["A"])
    tensors = found(net, x, is_masked=True) | found(net, x, is_masked=False)
    assert len(stored) == 11
    for name, array in stored.items():
        entry, ours = content["outputs"][name], tensors[name.removeprefix("A/")]
        assert list(ours.shape) == entry["shape"]
        assert error(ours, array, entry) < content["tolerance"], name


@torch.inference_mode()
def test_outputs_are_hugging_faces():
    """There attention stays masked in evaluation as long as the file's probabilities are not 0."""
    content, stored = fixture("modern", "hf_eomt_dinov2-s")
    tensors = found(network("hf_eomt_dinov2-s"), image(*SIZES["S"]), is_masked=True)
    names = {"class_logits": "masked.class_logits.4", "masks": "masked.mask_logits.4", "semantic": "masked.semantic"}
    for theirs, ours in names.items():
        entry = content["outputs"][f"S/{theirs}"]
        assert error(tensors[ours], stored[f"S/{theirs}"], entry) < content["tolerance"], theirs


@pytest.mark.parametrize(
    "published, config, key_map, options",
    [
        ("eomt_dinov2-b_512", "eomt_dinov2-b", "eomt", ()),
        ("eomt_dinov3-l_512", "eomt_dinov3-l", "eomt_dinov3", ()),
        ("eomt_dinov2-l_1024_cityscapes", "eomt_dinov2-l", "eomt", ("model.backbone.img_size=[1024,1024]",)),
    ],
)
def test_names_and_counts_of_larger_networks(published, config, key_map, options):
    content = json.loads(gzip.decompress((ROOT / "tests/fixtures/modern" / f"{published}.json.gz").read_bytes()))
    classes = 19 if "cityscapes" in published else 150
    net = build(config, classes, ("model.backbone.pretrained=None", *options), device="meta")
    shapes = {f"network.{name}": tuple(shape) for name, shape in content["names"].items()}
    shapes["criterion.empty_weight"] = (classes + 1,)
    assert choose(shapes, net)[0] == key_map
    assert sum(parameter.numel() for parameter in net.parameters()) == content["params"]["total"]


def test_published_settings_build_the_published_networks():
    counts = {"eomt_dinov2-l_39k_ade_512": 316_020_887, "eomt_dinov3-l_20k_ade_512": 314_947_735}
    counts["eomt_dinov2-l_20k_cityscapes_1024"] = 319_032_340
    for name, count in counts.items():
        with torch.device("meta"):
            path = ROOT / "configs/eomt" / f"{name}.py"
            net = build_model(load_config(path, ["model.backbone.pretrained=None"])["model"])
        assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_a_file_on_dinov3_is_added_to_dinov3():
    """The encoder is the sum of both files, the rest is the first one's; without the second nothing is written."""
    names = fixture("modern", "eomt_dinov3-s")[0]["names"]
    net = empty("eomt_dinov3-s")
    delta = {f"network.{name}": torch.full(tuple(shape), 2.0) for name, shape in names.items()}
    found = fit(delta, net)
    assert found.name == "eomt_dinov3"
    with pytest.raises(NoFit, match=r"hold what was added to those of DINOv3; give the file of these, too: .* --base"):
        found.apply()
    base = {name: torch.full(tuple(shape), 3.0) for name, shape in fixture("modern", "hf_dinov3-s")[0]["names"].items()}
    others = tuple(name for name in net.state_dict() if not name.startswith("backbone."))
    assert fit(base, net, drop=others).name == "hf_dinov3"
    whole = found.apply(fit(base, net, drop=others).apply())
    assert whole.keys() == net.state_dict().keys()
    assert all((value == (5 if name.startswith("backbone.") else 2)).all() for name, value in whole.items())


@pytest.mark.parametrize("model, form", [("eomt_dinov2-s", "hf_eomt"), ("eomt_dinov3-s", "hf_eomt_dinov3")])
def test_the_way_to_hugging_face_and_back(model, form):
    """Names and shapes are those of transformers' files; what comes back is equal."""
    config = NETWORKS[model][0]
    state = {name: torch.randn(value.shape) for name, value in empty(config).state_dict().items()}
    written = export(state, form)
    assert all(
        re.match(r"(embeddings|layers|layernorm|query|class_predictor|mask_head|upscale|attn_mask)", n) for n in written
    )
    if form == "hf_eomt":
        published = set(fixture("modern", "hf_eomt_dinov2-s")[0]["names"])
        assert published - written.keys() == {"criterion.empty_weight"}
        assert not written.keys() - published
    back = load_map(form).apply(written)
    assert back.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in back.items())
