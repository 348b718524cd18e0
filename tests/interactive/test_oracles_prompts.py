"""PromptModel on the networks of transformers: names, answers to prompts and features as published; training."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.convert.find_map import choose
from segkit.models.click_segmentor import Encoded
from segkit.models.prompt_model import Prompts
from segkit.models.prompt_networks import KINDS
from segkit.registry import build_model
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.runners.interactive.runner import Interactive
from segkit.settings import ClickInference
from tests.interactive.doubles import drawn

pytestmark = pytest.mark.slow
pytest.importorskip("transformers", reason="an extra")

FIXTURES = Path(__file__).parents[1] / "fixtures/prompts"
NAMES = {
    "sam-b": "sam_vit_b",
    "sam-h": "sam_vit_h",
    "sam-hq-b": "samhq_vit_b",
    "sam2-t": "sam2_hiera_tiny",
    "sam2-b+": "sam2_hiera_base_plus",
    "sam2-l": "sam2_hiera_large",
}
TABLES = ("pos_embed", "embed.weight", "iou_token", "mask_tokens", "hf_token", "obj_score_token", "rel_pos")
TABLES += ("positional_embedding", "point_embed", "no_memory", "memory_temporal", "position_embeddings", "cls_token")


SHARED = {"shared_image_embedding.positional_embedding": "prompt_encoder.shared_embedding.positional_embedding"}
"""The table of SAM that the published network has under two names: that of the second one was written last."""


def weight(name: str, shape: torch.Size) -> Tensor:
    """Normal numbers seeded by the published name's checksum, scaled by what the tensor is for."""
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(tuple(shape))
    if name.endswith("bias"):
        normal = 0.1 * normal
    elif any(word in name for word in TABLES):
        normal = 0.2 * normal
    elif len(shape) > 1:
        normal = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        normal = 1 + 0.1 * normal
    return torch.from_numpy(normal.astype(np.float32))


def filled(architecture: str, *, with_encoder: bool):
    model = build_model(dict(type="PromptModel", architecture=architecture)).eval()
    is_shared = not architecture.startswith("sam2")
    with torch.no_grad():
        for name, value in model.network.state_dict().items():
            if with_encoder or not name.startswith("vision_encoder."):
                value.copy_(weight(SHARED.get(name, name) if is_shared else name, value.shape))
    return model


@pytest.mark.parametrize("architecture", NAMES)
def test_names_and_shapes_are_published(architecture):
    names = json.loads(gzip.decompress((FIXTURES / "names.json.gz").read_bytes()))[NAMES[architecture]]
    with torch.device("meta"):
        model = build_model(dict(type="PromptModel", architecture=architecture))
    source = {name: tuple(shape) for name, shape in names.items()}
    assert choose(source, model)[0] == ("hf_sam2" if architecture.startswith("sam2") else "hf_sam")
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    if not architecture.startswith("sam2"):  # newer files hold the shared table once
        assert choose({name: shape for name, shape in source.items() if name != twin}, model)


def features(name: str, *shape: int) -> Tensor:
    values = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


@torch.inference_mode()
@pytest.mark.parametrize("architecture, file", [("sam-b", "sam_vit_b"), ("sam2-t", "sam2_hiera_tiny")])
def test_answers_to_prompts_are_published(architecture, file):
    """Through `_decoded`: three of the six calls are those that it makes."""
    model, stored = filled(architecture, with_encoder=False), np.load(FIXTURES / f"{file}_prompts.npz")
    asked = json.loads((FIXTURES / "sam_prompts_inputs.json").read_text())
    maps = [features("image_embeddings", 1, 256, 64, 64)]
    if architecture == "sam2-t":
        maps = [features("feat_s0", 1, 32, 256, 256), features("feat_s1", 1, 64, 128, 128), *maps]
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    mask = 6 * torch.exp(-(((y - 115.2) / 51.2) ** 2 + ((x - 140.8) / 38.4) ** 2)) - 3
    points, labels = torch.tensor(asked["input_points"][0][:1]), torch.tensor(asked["input_labels"][0][:1])
    boxes, yes, no = torch.tensor(asked["input_boxes"][0][:1]), torch.tensor([True]), torch.tensor([False])
    encoded = Encoded(torch.zeros(1, 3, 1024, 1024), maps)
    calls = {
        "points_multi": (labels, no, no),
        "points_mask_multi": (labels, yes, no),
        "box": (torch.full_like(labels, -1), no, yes),
        "points_box": (labels, no, yes),
    }
    for name, (given, has_mask, has_box) in calls.items():
        prompts = Prompts(points, given, mask[None, None], has_mask, boxes, has_box, (1024, 1024))
        outputs = model.answer(encoded, prompts)
        expected, scores = stored[f"{name}/pred_masks"][0, 0], stored[f"{name}/iou_scores"][0, 0]
        best = int(scores.argmax())
        ours = outputs["low_logits"][0, 0]
        step = next(s for s in range(1, 256) if -(-256 // s) == expected.shape[-1])
        error = np.abs(ours[::step, ::step].numpy() - expected[best]).max() / stored[f"{name}/std"]
        assert error < 1e-3, f"{name}: {error:.1e}"
        assert outputs["iou"].item() == pytest.approx(float(scores[best]), rel=1e-3, abs=1e-4), name


@torch.inference_mode()
def test_features_are_published():
    model, stored = filled("sam-b", with_encoder=True), np.load(FIXTURES / "sam_vit_b_encoder.npz")
    y, x = torch.meshgrid(torch.arange(1024.0), torch.arange(1024.0), indexing="ij")
    image = torch.stack([torch.sin((y * (c + 1) + x * (2 + c)) / (31 + 7 * c)) for c in range(3)])[None]
    model.pixels = lambda given: given
    (ours,) = model.encode(image).features
    expected = stored["image_embeddings"]
    part = ours[:, ::16, ::9, ::9]  # what is stored
    assert np.abs(part.numpy() - expected).max() / stored["std"] < 1e-3


TINY = {
    "sam": {
        "model_type": "sam",
        "vision_config": dict(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            output_channels=32,
            image_size=64,
            num_pos_feats=16,
            window_size=2,
            global_attn_indexes=[1],
        ),
        "prompt_encoder_config": dict(hidden_size=32, image_size=64),
        "mask_decoder_config": dict(hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16),
    },
    "sam2": {
        "model_type": "sam2",
        "vision_config": dict(
            backbone_config=dict(
                model_type="sam2_hiera_det_model",
                hidden_size=16,
                num_attention_heads=1,
                blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=[16, 32, 64, 128],
                num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[4, 4, 4, 2],
                global_attention_blocks=[3],
                image_size=[64, 64],
            ),
            backbone_channel_list=[128, 64, 32, 16],
            fpn_hidden_size=32,
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        ),
        "prompt_encoder_config": dict(hidden_size=32, image_size=64),
        "mask_decoder_config": dict(hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16),
    },
}
TINY["sam_hq"] = {
    **TINY["sam"],
    "model_type": "sam_hq",
    "mask_decoder_config": {**TINY["sam"]["mask_decoder_config"], "vit_dim": 32},
}


@pytest.mark.parametrize("kind", TINY)
def test_small_networks_are_clicked_saved_and_trained(kind, tmp_path):
    torch.manual_seed(0)
    model = build_model(dict(type="PromptModel", architecture=TINY[kind])).eval()
    image, mask = drawn(5)
    predictor = ClickPredictor(model, ClickInference(zoom=None, flip=False, threshold=0.5))
    predictor.set_image(image.permute(1, 2, 0).numpy())
    predictor.click(30, 40)
    first = predictor.probabilities.copy()
    predictor.click(10, 10, positive=False)
    assert first.shape == (64, 80) and not np.array_equal(first, predictor.probabilities)
    predictor.set_box(5, 5, 50, 70)

    import transformers

    kind_of = KINDS[kind]
    parts = {name: value for name, value in TINY[kind].items() if name.endswith("_config")}
    plain = getattr(transformers, kind_of.model)(getattr(transformers, kind_of.config)(**parts))
    plain.load_state_dict(model.network.state_dict(), strict=False)
    plain.save_pretrained(tmp_path / "saved")
    again = build_model(dict(type="PromptModel", architecture=TINY[kind], pretrained=str(tmp_path / "saved")))
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name

    clicks = torch.full((1, 8, 3), -1.0)
    clicks[0, 0] = torch.tensor([30.0, 40.0, 0.0])
    batch = {"image": image[None], "mask": torch.from_numpy(mask)[None].float(), "clicks": clicks, "meta": [{}]}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], 1e-2)
    losses = []
    for step in range(12):
        outputs = Interactive(iterations=0).forward(model.train(), dict(batch), np.random.default_rng(step))
        target = (batch["mask"] == 1).float()[:, None]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs["logits"], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("network.mask_decoder.") for name in changed)
