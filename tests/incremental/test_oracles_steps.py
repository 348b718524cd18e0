"""DFT*, EWF, DKD and the memory rules against numbers of the published code: tests/fixtures/steps."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.data.incremental.plan import label_table, make_plan
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.incremental.dkd import AuxiliaryBCE, DecomposedKD, NewClassBCE, OldClassBCE
from segkit.losses.incremental.unbiased import UnbiasedCE, UnbiasedKD
from segkit.metrics.incremental import published_scores
from segkit.models.bases import Backbone, Head
from segkit.models.growing_segmentor import GrowingSegmentor, grow, init_auxiliary, init_balanced
from segkit.models.readouts import READOUTS
from segkit.ops.incremental.memory_rules import greedy, round_robin
from segkit.runners.incremental.frozen import train_only
from segkit.runners.incremental.fusion import endpoint_share, fuse_endpoints
from segkit.runners.incremental.steps import grown_name
from tests.incremental.steps_oracle import (
    FOLDER,
    by_rule,
    load_published,
    mib_batches,
    mib_net,
    published_name,
    resized,
    stored,
    train,
)

CE = CrossEntropy(average="all")
SIZE = (33, 33)


def plain(model):
    return lambda image, label: (CE(resized(model(image)["logits"], SIZE), label), 0.0)


def assert_weights(model: GrowingSegmentor, arrays: dict[str, np.ndarray], prefix: str) -> None:
    checked = 0
    for name, value in model.state_dict().items():
        key = f"{prefix}/{published_name(name)}"
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.from_numpy(arrays[key]), rtol=1e-4, atol=1e-5, msg=key)
            checked += 1
    assert checked == sum(key.startswith(f"{prefix}/") for key in arrays)


def trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_dft_star_trains_the_published_weights():
    arrays = stored("dft_star.npz")
    model = mib_net(reserved=(2, 1))
    assert trainable(model) == int(arrays["step0/trainable"]) == 1653 and model.num_classes == 4
    means = train(model, mib_batches(0), plain(model), 0.01)
    np.testing.assert_allclose(means, arrays["step0/epoch_class_reg_loss"][:, 0], rtol=1e-4)
    assert_weights(model, arrays, "step0/final")

    before = copy.deepcopy(model.state_dict())
    model.reveal(2)
    train_only(model, (r"head\.classifier\.steps\.{new}\.",), 1, 3)
    assert trainable(model) == int(arrays["step1/trainable"]) == 21 and model.num_classes == 6
    means = train(model, mib_batches(1), plain(model), 0.001)
    np.testing.assert_allclose(means, arrays["step1/epoch_class_reg_loss"][:, 0], rtol=1e-4)
    assert_weights(model, arrays, "step1/final")
    frozen = [name for name in before if not name.startswith(("head.classifier.steps.1", "head.classifier.steps.2"))]
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in frozen), "moved by exactly 0"
    model.reveal(1)
    assert model.num_classes == 7


def test_predictions_never_name_a_class_that_is_not_learned():
    model = mib_net(reserved=(2, 1)).eval()
    with torch.no_grad():
        model.head.classifier.steps[1].bias.fill_(100.0)
    image = torch.randint(0, 256, (2, 3, 33, 33), dtype=torch.uint8)
    assert model(image)["logits"].shape[1] == 4
    assert int(model.maps(model(image), SIZE).argmax(1).max()) < 4
    model.reveal(2)
    assert int(model.maps(model(image), SIZE).argmax(1).min()) >= 4
    assert model.train()(image)["logits"].shape[1] == 7, "training sees the outputs of all steps"


def test_ewf_with_mib_trains_and_fuses_the_published_weights():
    arrays = stored("ewf_mib.npz")
    first = mib_net()
    assert trainable(first) == int(arrays["step0/trainable"])
    means = train(first, mib_batches(0), plain(first), 0.01)
    np.testing.assert_allclose(means, arrays["step0/epoch_class_reg_loss"][:, 0], rtol=1e-4)
    assert_weights(first, arrays, "step0/final")

    teacher = copy.deepcopy(first).eval()
    grow(first, 2)
    load_published(first, {published_name(name): v.numpy() for name, v in teacher.state_dict().items()})
    init_balanced(first)
    train_only(first, (r"^(?!head\.classifier)", r"classifier\.steps\.{new}\."), 1, 2)
    assert trainable(first) == int(arrays["step1/trainable"])

    def losses(image: Tensor, label: Tensor):
        with torch.no_grad():
            taught = resized(teacher(image)["logits"], SIZE)
        logits = resized(first(image)["logits"], SIZE)
        return UnbiasedCE()(logits, taught, label), 10 * UnbiasedKD()(logits, taught)

    means = train(first, mib_batches(1), losses, 0.001)
    np.testing.assert_allclose(means, arrays["step1/epoch_class_reg_loss"][:, 0], rtol=1e-4)
    assert_weights(first, arrays, "step1/before_fusion")
    old = {grown_name(name): value for name, value in teacher.state_dict().items()}
    fuse_endpoints(first, old, num_old=4, num_new=2)
    assert_weights(first, arrays, "step1/final")
    assert endpoint_share(4, 2) == pytest.approx(0.5774, abs=1e-4)
    bias = float(first.head.classifier.steps[0].bias.detach()[0])
    assert bias == pytest.approx(-0.7241, abs=1e-4)


def test_ewf_with_plop_begins_as_published():
    arrays, model = stored("ewf_plop.npz"), mib_net()
    means = train(model, mib_batches(0), plain(model), 0.01)
    np.testing.assert_allclose(means, arrays["step0/epoch_class_reg_loss"][:, 0], rtol=1e-4)
    assert_weights(model, arrays, "step0/final")


class Given(Backbone):
    """Stands in for an encoder whose maps are given."""

    mean, std, channels, strides = (0.0,) * 3, (1.0,) * 3, (256,), (16,)


class Last(Head):
    """The classifier alone."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(256, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        return {"logits": self.classifier(features[-1]), "embedding": features[-1]}


def dkd_net(grown: tuple[int, ...]) -> GrowingSegmentor:
    """The auxiliary output and three classes, then two more, by the rule of cls.0, cls.1 and cls.2."""
    model = GrowingSegmentor(4, Given(), Last(4), grown=grown, readout="auxiliary", reasoning=True)
    state = model.state_dict()
    for end, shape in (("weight", (256, 1, 1)), ("bias", ())):
        first = torch.cat([by_rule(f"cls.0.{end}", (1, *shape)), by_rule(f"cls.1.{end}", (3, *shape))])
        state[f"head.classifier.{'steps.0.' if grown else ''}{end}"].copy_(first)
        if grown:
            state[f"head.classifier.steps.1.{end}"].copy_(by_rule(f"cls.2.{end}", (2, *shape)))
    return model.double()


def test_dkd_losses_and_gradients_are_the_published_ones():
    arrays = stored("dkd.npz")
    features = torch.from_numpy(arrays["features/new"]).double().requires_grad_()
    image, label = torch.zeros(2, 3, 3, 4), torch.from_numpy(arrays["label"].astype(np.int64))
    outputs = dkd_net((2,)).train().outputs_of([features], image)
    with torch.no_grad():
        taught = dkd_net(()).eval().outputs_of([torch.from_numpy(arrays["features/old"]).double()], image)
    for name, key in (("logits", "logits"), ("positive", "pos_reg"), ("negative", "neg_reg")):
        ours = outputs[name] if name == "logits" else outputs[name][:, 1:]
        torch.testing.assert_close(ours.detach(), torch.from_numpy(arrays[key]), rtol=1e-9, atol=1e-12)
    terms = {
        "mbce": NewClassBCE(skip=1)(outputs["logits"], taught["logits"], label),
        "kd": OldClassBCE(skip=1)(outputs["logits"], taught["logits"]),
        "dkd_pos": OldClassBCE(skip=1)(outputs["positive"], taught["positive"]),
        "ac": AuxiliaryBCE()(outputs["auxiliary"]),
    }
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(arrays[f"terms/{name}"]), rel=1e-6), name
        grad = torch.autograd.grad(value, features, retain_graph=True, allow_unused=True)[0]
        wanted = torch.from_numpy(arrays[f"grad_features_sub/{name}"])
        if name == "ac":
            assert grad is None, "the auxiliary output has no gradient to the features"
        else:
            torch.testing.assert_close(grad[:, ::8], wanted, rtol=1e-6, atol=1e-9)
    decomposed = DecomposedKD(skip=1)(*(m[n] for n in ("positive", "negative") for m in (outputs, taught)))
    total = terms["mbce"] + 5 * terms["kd"] + 5 * decomposed + terms["ac"]
    assert float(total) == pytest.approx(float(arrays["total_1_5_5_5_1"]), rel=1e-6)


def test_an_ignored_pixel_is_a_negative_of_every_class_or_none_at_all():
    """By hand: logits 0 cost log 2 a pixel and class; of four pixels one shows class 2, with weight 3 as a positive."""
    logits, label = torch.zeros(1, 2, 1, 4), torch.tensor([[[2, 0, 255, 255]]])
    log2 = float(torch.tensor(2.0).log())
    assert float(NewClassBCE(pos_weight=3.0)(logits, label)) == pytest.approx((2 * 4 + 2) * log2 / 4)
    assert float(NewClassBCE(pos_weight=3.0, ignored="left_out")(logits, label)) == pytest.approx(
        (2 * 2 + 2) * log2 / 2
    )
    nothing = torch.full_like(label, 255)
    assert float(NewClassBCE()(logits, nothing)) == pytest.approx(2 * log2)
    assert float(NewClassBCE(ignored="left_out")(logits, nothing)) == 0
    # a batch without a pixel of the new class: one negative per pixel
    assert float(NewClassBCE()(logits, torch.zeros(1, 1, 1, 4), torch.ones_like(label))) == pytest.approx(log2)


def test_dkd_classes_start_as_the_auxiliary_output_and_it_predicts_nothing():
    model = dkd_net((2,))
    init_auxiliary(model)
    first, new = model.head.classifier.steps
    assert torch.equal(new.weight, first.weight[:1].expand(2, -1, -1, -1)) and torch.equal(new.bias, first.bias[[0, 0]])
    logits = torch.tensor([9.0, -1.0, 2.0, 2.0]).view(1, 4, 1, 1)
    assert int(READOUTS["auxiliary"](logits).argmax(1)) == 2
    assert int(READOUTS["auxiliary"](-logits).argmax(1)) == 1
    assert int(READOUTS["implicit"](-logits.abs()).argmax(1)) == 0


@pytest.mark.parametrize("name", ["a", "with_start"])
def test_greedy_memory_is_the_published_one(name):
    case = json.loads((FOLDER / "balconpas_memory.json").read_text())[name]
    start = None if case["start"] is None else np.array(case["start"])
    chosen = greedy(np.array(case["counts"]), np.array(case["target"]), len(case["selected"]), start)
    assert [f"im{i:02d}" for i in chosen] == case["selected"]


def classes_in(labels: np.ndarray) -> list[int]:
    return [int(value) for value in np.unique(labels) if value not in (0, 255)]


@pytest.mark.parametrize("unknown", [1, 0])
@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_round_robin_memory_is_the_published_one(unknown, loss):
    arrays = stored("ssul_memory_inputs.npz")
    case = json.loads((FOLDER / "ssul_memory.json").read_text())["cases"][f"unknown{unknown}_{loss}_loss_size10"]
    pools = [arrays[f"pool{i}/labels"] for i in (0, 1)]
    shown = [classes_in(labels) for labels in pools[0]]
    first = round_robin(shown, range(1, 5), 10, np.random.RandomState(101))
    names = [f"s0_{i:02d}" for i in first]
    assert names == [row[0] for row in case["step_1"]["memory_candidates"][:10]]
    # the images of the second step, with pseudo labels of the model after it where they are background
    logits = torch.from_numpy(arrays[f"old_logits_unknown{unknown}_times16"]).float() / 16
    probabilities = logits.sigmoid() if loss == "bce" else logits.softmax(1)
    best, labels = (value.numpy() for value in probabilities.max(1))
    seen = np.where((pools[1] == 0) & (labels > unknown) & (best >= 0.7), labels - unknown, pools[1])
    if unknown and loss == "bce":
        sure = READOUTS["unknown"].sure_classes(logits, 0.7).numpy()
        assert (np.where((pools[1] == 0) & (sure > 0), sure, pools[1]) == seen).all()
    names += [f"s1_{i:02d}" for i in range(len(seen))]
    shown = [shown[i] for i in first] + [classes_in(labels) for labels in seen]
    second = round_robin(shown, range(1, 7), 10, np.random.RandomState(102))
    assert [names[i] for i in second] == [row[0] for row in case["step_2"]["memory_candidates"]]
    assert sorted(names[i] for i in second) == case["step_2"]["memory_list"]


def test_a_memory_of_few_candidates_ends():
    assert round_robin([[1], [2], []], range(1, 4), 10, np.random.RandomState(0)) == [0, 1]
    assert greedy(np.eye(2, dtype=int), np.array([0.5, 0.5]), 10) == [0, 1]


def test_label_tables_of_ssul():
    """Training and test as its data sets have them, shifted back by one; memory by the table of new images."""
    tables = json.loads((FOLDER / "ssul_label_tables.json").read_text())
    from tests.incremental.test_class_steps import VOC

    for task, step in (("15-1", 0), ("15-1", 1), ("15-1", 2), ("15-5", 1)):
        plan = make_plan(VOC, f"voc_{task}")

        def published(part: str, task: str = task, step: int = step) -> np.ndarray:
            stored_table = tables[f"voc/{task}/{step}/{part}/sal_off"]
            return np.array([stored_table["map"].get(str(i), stored_table["default"]) for i in range(256)])

        ours = label_table(plan, step, part="train", convention="ssul").astype(int)
        wanted = published("train")
        real = [*range(21), 255]
        assert (ours[real] == np.where(wanted == 255, 255, wanted - 1)[real]).all()
        test = label_table(plan, step, part="test", convention="ssul").astype(int)
        outputs = sum(plan.sizes(step))
        wanted = published("test")
        # labels beyond the outputs are left out by its metric
        assert (test[real] == np.where(wanted >= outputs, 255, wanted)[real]).all()
        if step:
            memory = label_table(plan, step, part="train", setting="sequential", convention="ssul").astype(int)
            assert (memory[real] == published("memory")[real]).all()


def test_scores_with_absent_classes_as_zero_are_ssuls():
    arrays = stored("ssul_losses.npz")
    truth, predicted = (arrays[f"metrics/{name}"].astype(np.int64).ravel() for name in ("gt", "pred"))
    number = len(arrays["metrics/class_iou"])
    valid = (truth >= 0) & (truth < number)
    matrix = np.bincount(number * truth[valid] + predicted[valid], minlength=number**2).reshape(number, number)
    scores = published_scores(matrix, absent="zero")
    np.testing.assert_allclose(scores["IoU"], arrays["metrics/class_iou"], rtol=1e-6)
    np.testing.assert_allclose(scores["Acc"], arrays["metrics/class_acc"], rtol=1e-6)
    assert scores["IoU"].mean() == pytest.approx(float(arrays["metrics/mean_iou"]), rel=1e-6)
    skipped = published_scores(matrix)["IoU"]
    assert np.isnan(skipped).sum() == (matrix.sum(1) == 0).sum()
