"""The two-model recipe: images with objects alone for the second, and the first's word on what is present."""

import numpy as np
import pytest
import torch

from segkit import api
from segkit.data.splits.positives import Positives
from segkit.files import DataError
from segkit.registry import ConfigError
from tests.data.made import holding
from tests.tiny import sections


def test_positives():
    data = holding([[1], [], [2], [1, 2], []], 3)
    assert Positives(data).ids == ["0", "2", "3"] and len(Positives(data, ["c1"])) == 2
    assert Positives(data, [2]).kept == [2, 3]
    chosen = Positives(data, ["c2"])
    sample = chosen.sample(1, np.random.default_rng(0))
    assert np.array_equal(sample["mask"], data.mask(3)) and sample["meta"]["id"] == "3"
    assert np.array_equal(chosen.mask(0), data.mask(2)) and chosen.facts == ("2 of 5 images hold an object",)
    with pytest.raises(DataError, match="none of 5 images holds 2 pixels of c1, c2"):
        Positives(data, min_pixels=2)
    with pytest.raises(DataError, match=r"Positives.objects: no class 'c3'"):
        Positives(data, ["c3"])


def two_models(**arguments):
    cfg = sections()
    cfg["model"]["backbone"] = dict(type="PlainEncoder", channels=[4, 8])
    cfg["model"]["head"] = dict(type="FCNHead", channels=4)
    cfg["loop"] |= dict(steps=3, save_every=0)
    cfg["model"]["aux"] = [dict(type="PresenceHead", dropout=0.0)]
    cfg["losses"] = [dict(type="CrossEntropy"), dict(type="ClassPresence")]
    cfg["metrics"] = [dict(type="Confusion"), dict(type="Presence")]
    second = dict(model=dict(aux=[]), losses=[dict(type="CrossEntropy")], metrics=[dict(type="Confusion")])
    cfg["schedule"] = dict(type="Constant")
    cfg["val"]["dataset"]["length"] = 2
    cfg["runner"] = dict(type="TwoModels", second=second, objects=["striped disk", "checked disk"], **arguments)
    return cfg


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run, and its result."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, api.train(two_models(gate=dict(threshold=0.5)), folder, device="cpu")


def test_a_run_trains_both_and_predicts_with_both(whole):
    cfg, (folder, result) = two_models(), whole
    first, second = (folder / name / "best.pt" for name in ("presence", "positives"))
    contents = [torch.load(path, weights_only=True) for path in (first, second)]
    assert any("presence" in name for name in contents[0]["model"])
    assert not any("presence" in name for name in contents[1]["model"])
    assert (
        contents[0]["images"] == 12
        and contents[1]["images"]
        == len(Positives(api.setup.build_dataset(cfg["train"]["dataset"]), cfg["runner"]["objects"]))
        < 12
    )
    assert contents[1]["config"]["runner"]["first"] == str(first)
    # the second alone, and what the first leaves of it
    a, b = api.load_model(first, trust=True), api.load_model(second, trust=True)
    images = [api.setup.build_dataset(cfg["val"]["dataset"]).image(i) for i in range(2)]
    for image in images:
        x = torch.from_numpy(image).permute(2, 0, 1)[None]
        with torch.no_grad():
            present = a(x)["presence"].sigmoid()[0] >= 0.5
            plain = torch.nn.functional.interpolate(b(x)["logits"], x.shape[2:], mode="bilinear")
        present[0] = True
        expected = plain.softmax(1).masked_fill(~present[None, :, None, None], -1).argmax(1)[0]
        assert np.array_equal(api.predict(b, image)["labels"], expected.numpy())
    scores = api.evaluate(b)
    assert result.best == pytest.approx(scores["mIoU"])  # its validation has the gate, too


def test_resume_and_the_second_model_alone(whole, tmp_path):
    cfg = two_models()
    api.train({**cfg, "loop": {**cfg["loop"], "steps": 2}}, tmp_path / "part", device="cpu")
    api.train(cfg, tmp_path / "part", device="cpu", resume=True)  # the third step of the second
    part = torch.load(tmp_path / "part/positives/last.pt", weights_only=True)
    assert part["step"] == 3 and part["runner"]["first"] == str(tmp_path / "part/presence/best.pt")
    api.train(two_models(first=str(whole[0] / "presence/best.pt")), tmp_path / "alone", device="cpu")
    assert not (tmp_path / "alone/presence").exists()
    for folder in (tmp_path / "alone", tmp_path / "part"):
        one, other = (torch.load(path / "positives/last.pt", weights_only=True)["model"] for path in (folder, whole[0]))
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"runner.first = 'none.pt': no such file"):
        api.check_data(two_models(first="none.pt"), device="cpu")
    with pytest.raises(ConfigError, match=r"runner.gate: ClassGate cannot be built: .*treshold"):
        api.check_data(two_models(gate=dict(treshold=0.5)), device="cpu")
    with pytest.raises(ConfigError, match=r"runner.gate: names no 'checkpoint'"):
        api.check_data(two_models(gate=dict(checkpoint="a.pt")), device="cpu")
    cfg = two_models()
    cfg["runner"]["second"]["models"] = {}
    with pytest.raises(ConfigError, match=r"runner.second.models: no such section; did you mean 'model'"):
        api.check_data(cfg, device="cpu")
    cfg = two_models()
    cfg["model"]["head"] = dict(type="tests.tiny:TinyHead")
    with pytest.raises(
        ConfigError, match=r"model.head.type = 'tests.tiny:TinyHead': the runner TwoModels loads its first"
    ):
        api.check_data(cfg, device="cpu")
    cfg = two_models()
    cfg["runner"]["second"]["losses"] = [dict(type="CrossEntropi")]
    with pytest.raises(ConfigError, match=r"the config of the second model, with runner.second:\nlosses.0.type"):
        api.check_data(cfg, device="cpu")
