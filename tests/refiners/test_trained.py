"""Networks of refiners out of checkpoints: what is loaded, and a sentence with the file where nothing can be."""

import pytest
import torch

from segkit.engine import checkpoint
from segkit.files import DataError
from segkit.models.segmentor import Segmentor
from segkit.refiners._trained import check_classes, load_trained
from segkit.refiners.base import Refiner
from segkit.registry import REFINERS, ConfigError, build, build_model

MODEL = dict(
    num_classes=3,
    backbone=dict(type="PlainEncoder", channels=[4, 8]),
    head=dict(type="FCNHead", channels=4, num_convs=1),
)
CLASSES = ["sky", "road", "tree"]


class FromFile(Refiner):
    """Has a trained network, and keeps what it was given."""

    def __init__(self, checkpoint: str):
        super().__init__()
        self.network = load_trained(checkpoint, accepts, "a plain segmentor")


def accepts(network) -> bool:
    return type(network) is Segmentor  # click models derive from it


def saved(path, model: dict | None = None, **entries) -> torch.nn.Module:
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    model = model or MODEL
    network = build_model(model)
    content = dict(model=network.state_dict(), config={"model": model}, classes=CLASSES)
    checkpoint.save(path, {**content, **entries})
    return network


def refused(path, match: str) -> None:
    with pytest.raises(DataError, match=match) as found:
        load_trained(path, accepts, "a plain segmentor")
    assert str(path) in str(found.value)


@pytest.mark.parametrize("name", ["last.pt", "last.safetensors"])
def test_network_is_that_of_the_checkpoint(tmp_path, name):
    network = saved(tmp_path / name).eval()
    loaded = load_trained(tmp_path / name, accepts, "a plain segmentor")
    image = torch.rand(1, 3, 16, 24) * 255
    assert torch.equal(loaded(image)["logits"], network(image)["logits"])
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert (loaded.classes, loaded.config) == (CLASSES, {"model": MODEL})


def test_moving_average_is_taken(tmp_path):
    path = tmp_path / "last.pt"
    average = {name: torch.zeros_like(value) for name, value in build_model(MODEL).state_dict().items()}
    saved(path, ema=average)
    assert all(not value.any() for value in load_trained(path, accepts, "").state_dict().values())


def test_missing_file_names_the_nearest(tmp_path):
    saved(tmp_path / "best.pt")
    refused(tmp_path / "bets.pt", "no such checkpoint; did you mean 'best.pt'")


def test_published_file_is_to_be_converted(tmp_path):
    path = tmp_path / "published.pth"
    torch.save({"state_dict": build_model(MODEL).state_dict()}, path)
    refused(path, "segkit convert")
    torch.save([1, 2], path)
    refused(path, "holds a list.*segkit convert")
    torch.save(build_model(MODEL), path)
    refused(path, "segkit convert")
    path.write_bytes(b"no checkpoint")
    refused(path, "is no checkpoint")


def test_another_kind_of_model(tmp_path):
    path = tmp_path / "clicks.pt"
    saved(path, {**MODEL, "type": "ClickSegmentor", "num_classes": 1})
    refused(path, "holds a network of type ClickSegmentor with the head FCNHead; this refiner needs a plain segmentor")


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "last.pt"
    weights = build_model(MODEL).state_dict()
    first = next(iter(weights))
    saved(path, model=MODEL, **{"ema": {name: value for name, value in weights.items() if name != first}})
    refused(path, f"1 of {len(weights)} tensors are missing, first {first}")
    saved(path, ema={**weights, "more": torch.zeros(1)})
    refused(path, "tensors are unknown, first more")
    saved(path, ema={**weights, first: weights[first][:1]})
    refused(path, f"tensors have another shape, first {first}")
    saved(path, ema={**weights, first: weights[first] * float("nan")})
    refused(path, f"{first} holds nan")


def test_config_of_the_file_cannot_be_built_or_trusted(tmp_path):
    path = tmp_path / "last.pt"
    saved(path, config={"model": {**MODEL, "heads": 3}})
    refused(path, "cannot be built: .*heads")
    saved(path, config={"model": {**MODEL, "head": dict(type="os:system")}})
    with pytest.raises(ConfigError, match=f"{path}.*code outside of segkit"):
        load_trained(path, accepts, "")


def test_registry_adds_the_config_path(tmp_path):
    row = dict(type="tests.refiners.test_trained:FromFile", checkpoint=str(tmp_path / "none.pt"))
    with pytest.raises(ConfigError, match=r"^inference\.refiners\.1: FromFile cannot be built: .*none\.pt: no such"):
        build(row, REFINERS, "inference.refiners.1")


def test_classes_are_compared(tmp_path):
    path = tmp_path / "last.pt"
    saved(path)
    network = load_trained(path, accepts, "")
    check_classes(network, 3, path)
    check_classes(network, CLASSES, path)
    with pytest.raises(DataError, match=r"last\.pt: a network of 3 classes, and the maps to refine have 2"):
        check_classes(network, 2, path)
    with pytest.raises(DataError, match=r"last\.pt: class 1 of this network is 'road', and 'tree' in the maps"):
        check_classes(network, ["sky", "tree", "road"], path)
