"""Networks of queries, DPT and BEiT by name on the hub: what config.json says becomes the network of transformers."""

import json

import numpy as np
import pytest
import torch

from segkit import api
from segkit.convert.hub import sections, system_of
from segkit.convert.keymap import load_map
from segkit.registry import ConfigError, build_model
from tests.oracles import fixture, image
from tests.test_hub import PROCESSOR, SWIN_T, repositories, served  # noqa: F401  # fixtures

pytest.importorskip("huggingface_hub.constants")

RESNET = {
    "model_type": "resnet",
    "layer_type": "bottleneck",
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [256, 512, 1024, 2048],
    "embedding_size": 64,
    "downsample_in_first_stage": False,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
MASK2FORMER = {"model_type": "mask2former", "architectures": ["Mask2FormerForUniversalSegmentation"], "hidden_dim": 256}
MASKFORMER = {
    "model_type": "maskformer",
    "architectures": ["MaskFormerForInstanceSegmentation"],
    "fpn_feature_size": 256,
    "decoder_config": {"model_type": "detr", "num_queries": 100, "decoder_layers": 6, "d_model": 256},
}
EOMT = {
    "model_type": "eomt",
    "architectures": ["EomtForUniversalSegmentation"],
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_hidden_layers": 12,
    "image_size": 128,
    "num_queries": 100,
}
EOMT3 = {
    **EOMT,
    "model_type": "eomt_dinov3",
    "architectures": ["EomtDinov3ForUniversalSegmentation"],
    "intermediate_size": 1536,
    "layer_norm_eps": 1e-5,
    "rope_theta": 100.0,
}
DPT = {
    "model_type": "dpt",
    "architectures": ["DPTForSemanticSegmentation"],
    "use_batch_norm_in_fusion_residual": True,
}
PUBLISHED = {
    "hf_maskformer_swin-t": ({**MASKFORMER, "backbone_config": SWIN_T}, "hf_maskformer", 150),
    "hf_eomt_dinov2-s": (EOMT, "hf_eomt", 150),
    "hf_dpt-ade_vit-b": (DPT, "hf_dpt", 150),
}


def config_of(described: dict, count: int, name: str = "hf:a/b", processor: dict = PROCESSOR) -> dict:
    return sections(system_of(described, name), described, processor, [f"c{i}" for i in range(count)], name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(name):
    described, key_map, count = PUBLISHED[name]
    names, _ = fixture("modern", name)
    with torch.device("meta"):
        net = build_model(config_of(described, count)["model"])
    shapes = {key: tuple(shape) for key, shape in names["names"].items()}
    assert "tensors matched" in load_map(key_map).check(shapes, net.state_dict())


def test_sizes_come_from_config():
    wide = {**EOMT, "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "image_size": [640, 512]}
    model = config_of(wide, 7)["model"]
    assert model["backbone"]["name"] == "vit_large_patch14_reg4_dinov2" and model["backbone"]["img_size"] == (640, 512)
    wide = {**EOMT3, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_blocks": 3}
    model = config_of(wide, 133)["model"]
    assert model["backbone"]["name"] == "vit_base_patch16_dinov3_qkvb" and model["backbone"]["norm_eps"] == 1e-5
    assert model["head"]["num_blocks"] == 3
    with pytest.raises(ConfigError, match="use_gated_mlp"):
        config_of({**EOMT3, "use_gated_mlp": True}, 133)
    with pytest.raises(ConfigError, match=r"image_size = '640', which is no size in pixels"):
        config_of({**EOMT, "image_size": "640"}, 7)
    large = {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "fusion_hidden_size": 64}
    large |= {"backbone_out_indices": [5, 11, 17, 23], "neck_hidden_sizes": [256, 512, 1024, 1024]}
    model = config_of({**DPT, **large}, 150)["model"]
    assert model["backbone"]["name"] == "vit_large_patch16_384" and 1024 in model["neck"]["channels"]
    assert list(model["backbone"]["out_indices"]) == [5, 11, 17, 23] and model["head"]["channels"] == 64
    with pytest.raises(ConfigError, match=r"use_batch_norm_in_fusion_residual = False, and segkit's dpt_original"):
        config_of({**DPT, "use_batch_norm_in_fusion_residual": False}, 150)
    for base, found in ((MASK2FORMER, "mask2former"), (MASKFORMER, "maskformer")):
        net = config_of({**base, "backbone_config": {**RESNET, "depths": [3, 4, 23, 3]}}, 3)["model"]
        assert net["backbone"]["name"] == "resnet101" and net["backbone"]["type"] == "TimmDetection", found


def test_the_task_is_a_word_of_the_name():
    described = {**MASK2FORMER, "backbone_config": SWIN_T}
    cfg = config_of(described, 80, "hf:facebook/mask2former-swin-tiny-coco-instance")
    assert cfg["runner"]["type"] == "Instances" and cfg["metrics"] == [{"type": "CocoAP"}]
    cfg = config_of(described, 133, "hf:facebook/mask2former-swin-tiny-coco-panoptic@main")
    assert list(cfg["runner"]["things"]) == list(range(80)) and cfg["metrics"] == [{"type": "PQ"}]
    cfg = config_of(described, 19, "hf:facebook/mask2former-swin-tiny-cityscapes-panoptic")
    assert list(cfg["runner"]["things"]) == list(range(11, 19))
    for name, count in (("ade-panoptic", 150), ("ade-semantic", 150), ("coco", 133)):
        assert "runner" not in config_of(described, count, f"hf:facebook/mask2former-swin-tiny-{name}")


def test_eomts_processor_says_how_images_are_seen():
    windows = {"size": {"shortest_edge": 512, "longest_edge": None}, "do_split_image": True}
    cfg = config_of(EOMT, 150, "hf:tue-mps/ade20k_semantic_eomt_large_512", windows)
    assert cfg["inference"] == {"mode": "slide", "crop": (512, 512), "stride": "even"}
    assert cfg["test"]["transforms"] == [{"type": "Resize", "short": 512}]
    square = {"size": {"shortest_edge": 640, "longest_edge": 640}, "do_split_image": False, "do_pad": True}
    cfg = config_of(EOMT, 133, "hf:tue-mps/coco_panoptic_eomt_large_640", square)
    assert cfg["test"]["transforms"] == [{"type": "Resize", "short": 640, "long": 640}]
    assert cfg["runner"]["divisor"] == 640 and cfg["runner"]["padding"] == 0


# against transformers' own classes, with random weights


def made(described: dict, folder, count: int):
    """A network of transformers with random weights and statistics, saved as a repository; its own config.json."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    labels = {i: f"c{i}" for i in range(count)}
    values = {key: value for key, value in described.items() if key not in ("architectures", "model_type")}
    config = transformers.AutoConfig.for_model(described["model_type"], **values, id2label=labels)
    net = getattr(transformers, described["architectures"][0])(config)
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif "relative_position_bias_table" in name or "position_embeddings" in name or "query" in name:
            value.normal_(0, 0.3)
        elif name == "attn_mask_probs":
            value.zero_()  # as at the end of a training
    net.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_resize": False}))
    return net


def against(hub_folder, described: dict, size: tuple[int, int], count: int = 5):
    """Outputs of transformers' network and of segkit's by its name on the hub, and the latter's model."""
    folder = hub_folder / "owner" / described["model_type"]
    folder.mkdir(parents=True, exist_ok=True)
    net = made(described, folder, count)
    model = api.load_model(f"hf:owner/{described['model_type']}").eval()
    assert model.classes == [f"c{i}" for i in range(count)]
    x = image(0, size)
    with torch.inference_mode():
        theirs = net(pixel_values=x)
        ours = model(x * model.std + model.mean)
    return theirs, ours, model


def off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.slow
@pytest.mark.parametrize(
    "described",
    [
        {**MASK2FORMER, "backbone_config": RESNET},
        {**MASKFORMER, "backbone_config": RESNET},
        {**MASKFORMER, "backbone_config": SWIN_T},
        EOMT,
        EOMT3,
        {**EOMT3, "layer_norm_eps": 1e-3},  # far from the usual one: it is read
    ],
    ids=["mask2former-resnet", "maskformer-resnet", "maskformer-swin", "eomt", "eomt-dinov3", "eomt-dinov3-eps"],
)
def test_queries_are_those_of_transformers(repositories, described):  # noqa: F811
    theirs, ours, _ = against(repositories, described, (128, 128))
    assert off(ours["class_logits"][-1], theirs.class_queries_logits) < 2e-4
    assert off(ours["mask_logits"][-1], theirs.masks_queries_logits) < 2e-4


@pytest.mark.slow
def test_dpt_is_that_of_transformers(repositories):  # noqa: F811
    theirs, ours, model = against(repositories, {**DPT, "image_size": 96}, (128, 128))
    assert off(model.maps(ours, (128, 128)), theirs.logits) < 1e-4
    prediction = api.predict(model, np.zeros((40, 60, 3), np.uint8))
    assert prediction["labels"].shape == (40, 60)


BEIT = {
    "model_type": "beit",
    "architectures": ["BeitForSemanticSegmentation"],
    "image_size": 128,
    "use_relative_position_bias": True,
    "use_mean_pooling": True,
    "out_indices": [3, 5, 7, 11],
}


def test_beit_is_built_from_its_config():
    cfg = config_of({**BEIT, "image_size": 640}, 150)["model"]
    assert list(cfg["backbone"]["out_indices"]) == [3, 5, 7, 11] and cfg["backbone"]["img_size"] == (640, 640)
    large = {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "out_indices": [7, 11, 15, 23]}
    cfg = config_of({**BEIT, **large}, 150)["model"]
    assert cfg["backbone"]["name"] == "beit_large_patch16_224" and cfg["head"]["channels"] == 1024
    with pytest.raises(ConfigError, match=r"out_indices = \[2, 5, 8, 11\], which is none of the published sizes"):
        config_of({**BEIT, "out_indices": [2, 5, 8, 11]}, 150)
    with pytest.raises(ConfigError, match="use_relative_position_bias = False"):
        config_of({**BEIT, "use_relative_position_bias": False}, 150)


@pytest.mark.slow
def test_beit_is_that_of_transformers(repositories):  # noqa: F811
    """transformers reads the maps two blocks before those that the authors' code read in training."""
    described = {**BEIT, "use_mean_pooling": False}
    theirs, _, model = against(repositories, described, (128, 128))
    model.config["model"]["backbone"]["out_indices"] = (1, 3, 5, 9)
    other = build_model(model.config["model"]).eval()
    kept = {name: value for name, value in model.state_dict().items() if name in other.state_dict()}
    other.load_state_dict(kept)
    with torch.inference_mode():
        logits = other(image(0, (128, 128)) * other.std + other.mean)["logits"]
    assert off(logits, theirs.logits) < 1e-4
