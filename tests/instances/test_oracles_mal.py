"""MAL's mean field, losses, crops, rates and network against published numbers."""

import gzip
import json
import math

import numpy as np
import pytest
import torch

from segkit.convert.keymap import load_map
from segkit.data.instances.box_crops import box_crop, extended_box, random_margins, wrapped_crop
from segkit.data.transforms.operations import nearest_index, take
from segkit.engine.schedules import Cosine, LearningRate
from segkit.losses.instances.mal import MAL
from segkit.models.mask_labeler import MaskLabeler
from segkit.ops.instances.mean_field import soft_mean_field
from segkit.settings import WarmupSettings
from tests.instances.boxes_oracle import FOLDER, load, load_json, unpacked
from tests.oracles import weights_of


@pytest.mark.parametrize("case", ["box", "nobox"])
def test_mean_field_is_the_published_one(case):
    known = {
        name.partition(".")[2]: value for name, value in load("mal_mean_field").items() if name.startswith(f"{case}.")
    }
    boxes = known["box"] if "box" in known else torch.ones_like(known["seg"])
    for rounds in known["rounds"].tolist():
        q = soft_mean_field(
            known["seg"], boxes, known["image"], rounds=rounds, kernel=known["kernel"].item(), zeta=known["zeta"].item()
        )
        torch.testing.assert_close(q.float(), known[f"q{rounds}"], rtol=0, atol=1e-5)
        bits = unpacked(known[f"bits{rounds}"], q.shape[2])
        is_sure = (known[f"q{rounds}"] - 0.5).abs() > 5e-3
        assert ((q > 0.5) == bits)[is_sure].all()


@pytest.fixture(scope="module")
def losses():
    return load("mal_losses")


def run(known, loss):
    logits = known["student_logits"].clone().requires_grad_()
    mask = unpacked(known["mask"], 64).long()
    return logits, loss(logits, known["teacher_logits"], known["image"], mask)


def test_losses_and_gradients_are_the_published_ones(losses):
    logits, terms = run(losses, MAL(mil_warm_up=0, crf_warm_up=0).eval())
    assert terms["mil"].item() == pytest.approx(4 * losses["mil"].sum().item() / 3.0001, rel=1e-6)
    assert terms["crf"].item() == pytest.approx(losses["crf"].item() / 2, rel=1e-6)
    for name in ("mil", "crf"):
        (gradient,) = torch.autograd.grad(terms[name], logits, retain_graph=True)
        torch.testing.assert_close(gradient, losses[f"grad_{name}"], rtol=1e-4, atol=1e-8)


def test_pseudo_labels_are_the_published_ones(losses):
    student, teacher = (losses[f"{name}_logits"][:, 0].sigmoid() for name in ("student", "teacher"))
    mask = unpacked(losses["mask"], 64).float().unsqueeze(1)
    box = torch.nn.functional.interpolate(mask, size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    assert MAL().pseudo_labels(student, teacher, box, losses["image"]).equal(unpacked(losses["pseudo"], 16))


@pytest.mark.parametrize("step", [0, 250, 1000, 3000, 4000])
def test_weights_of_the_first_epoch_are_the_published_ones(losses, step):
    loss = MAL()
    loss.calls += step
    terms = run(losses, loss)[1]
    torch.testing.assert_close(
        torch.stack([terms["mil"], terms["crf"]]).double(), losses[f"total.step{step}"], rtol=1e-5, atol=1e-9
    )
    assert loss.calls == step + 1


def test_weights_are_whole_after_the_first_epoch(losses):
    loss = MAL(first_epoch=10)
    loss.calls += 10
    terms = run(losses, loss)[1]
    torch.testing.assert_close(
        torch.stack([terms["mil"], terms["crf"]]).double(), losses["total.step4000"], rtol=1e-5, atol=0
    )


def test_rates_are_the_published_ones():
    known = load("mal_rates")
    lr, steps = known["lr"].item(), known["steps_per_epoch"].item()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=lr)
    rate = LearningRate(
        optimizer, Cosine(min_lr=0.2 * lr), 10 * steps, WarmupSettings(steps=steps, factor=0.0, law="before")
    )
    for epoch, step, right in zip(known["epoch"].tolist(), known["step"].tolist(), known["rates"].tolist()):
        rate.set(epoch * steps + step)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(right, rel=1e-12)


def test_crops_are_the_published_ones():
    known = load_json("mal_crops")
    image = np.random.RandomState(161).randint(0, 256, (40, 52, 3))
    for case in known["cases"]:
        box = extended_box(case["box"])
        assert list(box) == case["extended"]
        crop = wrapped_crop(image, box)
        assert crop.shape[:2] == (box[3] - box[1], box[2] - box[0])
        assert crop.mean() == pytest.approx(case["mean"], rel=1e-12)
        assert crop[:2, :2].tolist() == case["corner"]
        mask = box_crop(case["box"], box, image.shape[:2], is_wrapped=False)
        small = take(mask, *(nearest_index(length, 32) for length in mask.shape))
        assert small.mean() == pytest.approx(case["boxmask_mean"], rel=1e-12)
    random = known["random"]
    margins = random_margins(np.random.RandomState(random["seed"]))
    assert list(margins) == pytest.approx(random["margins"], rel=1e-12)
    assert list(extended_box(random["box"], margins)) == random["extended"]


@pytest.mark.parametrize(("size", "parameters"), [("small", 25_211_440), ("base", 93_090_400)])
def test_names_match_one_to_one(size, parameters):
    content = json.loads(gzip.decompress((FOLDER / f"mal_vit-{size}_keys.json.gz").read_bytes()))
    with torch.device("meta"):
        model = MaskLabeler(size=size)
    assert sum(parameter.numel() for parameter in model.parameters()) == content["parameters"] == parameters
    shapes = {
        f"{owner}.{name}": tuple(shape) for owner in ("student", "teacher") for name, shape in content["keys"].items()
    }
    assert f"{len(model.state_dict())} tensors matched" in load_map("mal").check(shapes, model.state_dict())


@pytest.mark.parametrize(
    "topic",
    ["mal_vit-small_forward", "mal_vit-small_forward2", pytest.param("mal_vit-base_forward", marks=pytest.mark.slow)],
)
def test_outputs_are_the_published_ones(topic):
    known, size = load(topic), topic.removeprefix("mal_vit-").partition("_")[0]
    content = json.loads(gzip.decompress((FOLDER / f"mal_vit-{size}_keys.json.gz").read_bytes()))
    model = MaskLabeler(size=size, open_bounds=True).eval()
    weights = {f"student.{name}": value for name, value in weights_of(content["keys"]).items()}
    model.load_state_dict(load_map("mal").apply(weights))
    boxes = known["boxes"]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    with torch.no_grad():
        outputs = model(known["image"], areas)
        tokens = model.backbone(outputs["image"])
        kernel = model.head.kernel(tokens.mean((2, 3)))
    rows = tokens.flatten(2).transpose(1, 2)
    torch.testing.assert_close(kernel[:, ::2], known["kernel"], rtol=0, atol=1e-4)
    torch.testing.assert_close(outputs["logits"][:, 0], known["logits"], rtol=0, atol=1e-4)
    assert rows.shape[2] == {"small": 384, "base": 768}[size] and math.isfinite(float(rows.sum()))
