"""The class gate: arithmetic by the stored numbers and by hand, its place in the inference, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit import api
from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.refiners.class_gate import ClassGate, gated, in_specks, softly_gated
from segkit.registry import ConfigError, build_model
from tests.tiny import sections

FILE = Path(__file__).parents[1] / "fixtures/refine/class_gate.npz"
SIZE = (6, 4, 24, 32)


@pytest.fixture(scope="module")
def stored():
    arrays = dict(np.load(FILE))
    bits = ("plain_mask", "gated_mask", "soft_gated_mask", "components_ge_12", "val_truth")
    unpacked = {name: torch.from_numpy(np.unpackbits(arrays[name]).reshape(SIZE)).bool() for name in bits}
    maps = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in ("prob", "class_prob")}
    return {**arrays, **unpacked, **maps}


def test_gates_of_independent_maps(stored):
    maps, presence = stored["prob"], stored["class_prob"]
    assert torch.equal(maps > 0.55, stored["plain_mask"])
    thresholds = torch.tensor([0.3, 0.5, 0.7, 0.0])
    assert torch.equal(gated(maps, presence, thresholds) > 0.55, stored["gated_mask"])
    assert torch.equal(softly_gated(maps, presence) > 0.55, stored["soft_gated_mask"])
    image = torch.zeros(6, 3, *SIZE[2:])
    hard = ClassGate([0.3, 0.5, 0.7, 0.0], overlapping=True)
    assert torch.equal(hard.refine(image, maps, presence=presence) > 0.55, stored["gated_mask"])
    soft = ClassGate(overlapping=True, is_soft=True)
    assert torch.equal(soft.refine(image, maps, presence=presence) > 0.55, stored["soft_gated_mask"])
    nothing = ClassGate(0, overlapping=True)
    assert torch.equal(nothing.refine(image, maps, presence=presence), maps)
    one = ClassGate(0.5)  # a model of one class
    refined = one.refine(image, maps[:, 1:2], presence=presence[:, 1:2])
    assert torch.equal(refined, maps[:, 1:2] * (presence[:, 1:2] >= 0.5)[..., None, None])


def test_components(stored):
    for i in range(6):
        for k in range(4):
            mask = stored["gated_mask"][i, k]
            kept = mask & ~in_specks(mask, 12)
            if torch.equal(kept, stored["components_ge_12"][i, k]):
                continue
            pytest.fail(f"image {i}, class {k}")
    gate = ClassGate([0.3, 0.5, 0.7, 0.0], overlapping=True, min_area=12, map_threshold=0.55)
    found = gate.refine(torch.zeros(6, 3, *SIZE[2:]), stored["prob"], presence=stored["class_prob"])
    assert torch.equal(found > 0.55, stored["components_ge_12"])


def test_maps_of_exclusive_classes(stored):
    """Against absent classes at minus infinity before the argmax, and against class 0 in the place of absent ones."""
    maps, presence = stored["prob"].softmax(1), stored["class_prob"]
    image = torch.zeros(6, 3, *SIZE[2:])
    is_absent = presence < 0.5
    is_absent[:, 0] = False
    assert is_absent.any()
    labels = maps.argmax(1)
    next_best = maps.masked_fill(is_absent[..., None, None], -torch.inf).argmax(1)
    to_background = torch.where(is_absent.gather(1, labels.flatten(1)).view_as(labels), 0, labels)
    assert not torch.equal(next_best, to_background)
    for instead, expected in (("next_best", next_best), ("background", to_background)):
        found = ClassGate(0.5, instead).refine(image, maps, presence=presence)
        assert torch.equal(found.argmax(1), expected)
        assert torch.allclose(found.sum(1), torch.ones(()), atol=1e-6) and found.min() >= 0
        assert torch.equal(ClassGate(0, instead).refine(image, maps, presence=presence), maps)
    factors = presence.clone()
    factors[:, 0] = 1
    soft = ClassGate(is_soft=True).refine(image, maps, presence=presence)
    assert torch.equal(soft.argmax(1), (maps * factors[..., None, None]).argmax(1))


def pixels(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows).T[None, :, None]


def test_by_hand():
    maps = pixels((0.2, 0.7, 0.1), (0.3, 0.3, 0.4), (0.0, 1.0, 0.0))
    image = torch.zeros(1, 3, 1, 3)
    presence = torch.tensor([[0.1, 0.4, 0.9]])
    found = ClassGate(0.5).refine(image, maps, presence=presence)
    # where nothing is left the classes that stay share the pixel, and the first is predicted
    assert torch.allclose(found, pixels((2 / 3, 0, 1 / 3), (3 / 7, 0, 4 / 7), (0.5, 0, 0.5)))
    found = ClassGate(0.5, "background").refine(image, maps, presence=presence)
    assert torch.allclose(found, pixels((0.9, 0, 0.1), (3 / 7, 0, 4 / 7), (1.0, 0, 0)))
    # class 0 is no background: it goes, and of nothing but absent classes the most present one stays
    found = ClassGate(0.5, background=None).refine(image, maps, presence=presence)
    assert torch.allclose(found, pixels((0, 0, 1.0), (0, 0, 1.0), (0, 0, 1.0)))
    found = ClassGate(0.95, background=None).refine(image, maps, presence=presence)
    assert torch.allclose(found, pixels((0, 0, 1.0), (0, 0, 1.0), (0, 0, 1.0)))
    # one number for each class
    assert torch.equal(ClassGate([0.5, 0.4, 0.9]).refine(image, maps, presence=presence), maps)


def test_small_components_of_exclusive_classes():
    """Two diagonal pixels of class 1 are one component of 2; a single pixel goes to the next best class."""
    labels = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 1]])
    maps = torch.full((1, 3, 2, 4), 0.1).scatter(1, labels[None, None], 0.6)
    maps[0, 2] = 0.3
    maps[0] /= maps[0].sum(0)
    present = torch.ones(1, 3)
    image = torch.zeros(1, 3, 2, 4)
    found = ClassGate(min_area=2).refine(image, maps, presence=present)
    assert found.argmax(1)[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 2]]
    found = ClassGate(instead="background", min_area=2).refine(image, maps, presence=present)
    assert found.argmax(1)[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert torch.equal(ClassGate(min_area=[0, 1, 9]).refine(image, maps, presence=present), maps)


def network(path=None, classes=("a", "b", "c"), bias=(9.0, -9.0, 9.0)):
    """A model of 3 classes whose branch says that the second is absent."""
    torch.manual_seed(0)
    cfg = dict(
        num_classes=3,
        backbone=dict(type="PlainEncoder", channels=[4, 8]),
        head=dict(type="FCNHead", channels=4, num_convs=1),
        aux=[dict(type="PresenceHead")],
    )
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.aux[0].presence.weight.zero_()
        model.aux[0].presence.bias.copy_(torch.tensor(bias))
        model.head.classifier.bias.copy_(torch.tensor([0.0, 5.0, 1.0]))
    model.classes, model.config = list(classes), dict(model=cfg)
    if path is not None:
        checkpoint.save(path, dict(model=model.state_dict(), config=model.config, classes=list(classes)))
    return model


@pytest.mark.parametrize(
    "inference", [{}, dict(tta=dict(scales=[1.0])), dict(mode="slide", crop=[24, 24], stride=[16, 16])]
)
def test_behind_a_model(tmp_path, inference):
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    model = network()
    model.config["inference"] = inference
    assert (api.predict(model, image)["labels"] == 1).mean() > 0.9
    model.config["inference"] = {**inference, "refiners": [dict(type="ClassGate", background=None)]}
    prediction = api.predict(model, image)
    assert set(np.unique(prediction["labels"])) <= {0, 2}
    assert prediction["presence"].tolist() == pytest.approx([1, 0, 1], abs=1e-3)
    # another model says that the third class is absent
    network(tmp_path / "other.pt", bias=(9.0, 9.0, -9.0))
    row = dict(type="ClassGate", background=None, checkpoint=str(tmp_path / "other.pt"))
    model.config["inference"] = {**inference, "refiners": [row]}
    assert set(np.unique(api.predict(model, image)["labels"])) <= {0, 1}


def test_what_is_refused(tmp_path):
    maps, image = pixels((0.2, 0.7, 0.1)), torch.zeros(1, 3, 1, 1)
    with pytest.raises(ConfigError, match=r"ClassGate reads 'presence', which this model does not predict; train it"):
        ClassGate().refine(image, maps)
    presence = torch.ones(1, 3)
    with pytest.raises(ConfigError, match=r"ClassGate.threshold has 2 numbers, and the maps have 3 classes"):
        ClassGate([0.5, 0.5]).refine(image, maps, presence=presence)
    with pytest.raises(ConfigError, match=r"presence of 2 classes, and the maps have 3"):
        ClassGate().refine(image, maps, presence=presence[:, :2])
    with pytest.raises(ConfigError, match=r"ClassGate.background = 3: the maps have 3 classes"):
        ClassGate(background=3).refine(image, maps, presence=presence)
    with pytest.raises(ValueError, match="instead = 'background'"):
        ClassGate(instead="background", background=None)
    # checkpoints: of other classes, of another number of them, without a branch
    network(tmp_path / "a.pt", classes=("a", "c", "b"))
    model = network()
    model.config["inference"] = dict(refiners=[dict(type="ClassGate", checkpoint=str(tmp_path / "a.pt"))])
    with pytest.raises(DataError, match=r"a\.pt: class 1 of this network is 'c', and 'b' in the maps to refine"):
        api.predict(model, np.zeros((32, 32, 3), np.uint8))
    gate = ClassGate(checkpoint=str(tmp_path / "a.pt"))
    with pytest.raises(DataError, match=r"a\.pt: a network of 3 classes, and the maps to refine have 2"):
        gate.refine(torch.zeros(1, 3, 32, 32), torch.full((1, 2, 32, 32), 0.5))
    cfg = {**network().config["model"], "aux": []}
    checkpoint.save(tmp_path / "b.pt", dict(model=build_model(cfg).state_dict(), config=dict(model=cfg)))
    with pytest.raises(DataError, match=r"b\.pt: holds .*; this refiner needs one that predicts the presence"):
        ClassGate(checkpoint=str(tmp_path / "b.pt"))


def test_a_training_without_a_branch_ends_before_it_begins():
    """The check before training scores one image."""
    cfg = sections()
    cfg["inference"] = dict(refiners=[dict(type="ClassGate")])
    with pytest.raises(ConfigError, match="ClassGate reads 'presence', which this model does not predict"):
        api.check_data(cfg, device="cpu")


def test_false_positives_drop():
    """A map with a speck of an absent class in each of 10 images: with the gate none is left."""
    rng = np.random.default_rng(0)
    maps = torch.zeros(10, 2, 16, 16)
    maps[:, 0] = 1
    presence = torch.tensor([[1.0, float(i % 2)] for i in range(10)])
    for i in range(10):
        y, x = rng.integers(0, 12, 2)
        maps[i, :, y : y + 4, x : x + 4] = torch.tensor([0.2, 0.8])[:, None, None]
    found = ClassGate().refine(torch.zeros(10, 3, 16, 16), maps, presence=presence).argmax(1).flatten(1).sum(1)
    assert found.tolist() == [16 * (i % 2) for i in range(10)]
