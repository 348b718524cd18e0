"""The search of an architecture: two optimizers in turn on two parts of the images, and the genotype in the end."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit import api
from segkit.data.loader import to_device
from segkit.data.semantic.shapes import Shapes
from segkit.data.splits.split import Part
from segkit.engine import checkpoint, resume_rules
from segkit.engine.config_changes import changes
from segkit.engine.hooks import standard_hooks
from segkit.files import DataError
from segkit.models.bases import SearchBackbone
from segkit.readers.python_config import dump
from segkit.registry import ConfigError
from tests.test_distributed import torchrun
from tests.test_loop import CPU, Record, loop_of
from tests.tiny import sections


class TwoWays(SearchBackbone):
    """Two convolutions side by side, weighted by a softmax of two numbers."""

    channels, strides = (4,), (1,)
    mean, std = (127.5, 127.5, 127.5), (64.0, 64.0, 64.0)

    def __init__(self):
        super().__init__()
        self.ways = nn.ModuleList(nn.Conv2d(3, 4, size, padding=size // 2) for size in (1, 3))
        self.choice = nn.Parameter(torch.zeros(2))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        first, second = (way(image) for way in self.ways)
        weights = self.choice.softmax(0)
        return [F.relu(self.norm(weights[0] * first + weights[1] * second))]

    def architecture(self) -> list[nn.Parameter]:
        return [self.choice]

    def decode(self) -> dict:
        return {"way": int(self.choice.argmax())}


class PlainWays(TwoWays):
    """Without batch norm, whose statistics depend on the number of processes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()


def search(**runner) -> dict:
    """The sections of a search of seconds."""
    cfg = sections()
    cfg["model"] = dict(
        num_classes=6, backbone=dict(type="tests.test_search:TwoWays"), head=dict(type="tests.tiny:TinyHead")
    )
    cfg["losses"] = cfg["losses"][:1]
    return cfg | {"runner": dict(type="SearchArchitecture", **{"start_step": 2, **runner})}


def test_weights_and_architecture_see_images_of_their_own(tmp_path):
    loop = loop_of(search(share=0.75), tmp_path)
    weights, others = loop.dataset.ids, loop.runner._items.dataset.ids
    assert (len(weights), len(others)) == (9, 3) and sorted([*weights, *others]) == loop.dataset.dataset.ids
    seen: dict[int, set[str]] = {}
    add = loop.terms.add
    loop.terms.add = lambda step, paths, terms: (
        seen.setdefault(len(terms), set()).update(paths),
        add(step, paths, terms),
    )
    loop.fit()
    names = {loop.dataset.dataset.path(i): name for i, name in enumerate(loop.dataset.dataset.ids)}
    assert {names[path] for path in seen[1]} == {*weights, *others}


def test_a_step_of_the_architecture_is_one_of_adam_on_its_images_alone(tmp_path):
    """Adam's first step is as long as the rate, against the sign of the gradient, which is computed here by a copy."""
    loop = loop_of(search(start_step=0, lr=0.01, weight_decay=0.0), tmp_path)
    loop.model.train()
    loop.train_step([next(loop.batches())])
    before = copy.deepcopy(loop.raw_model)
    reference = copy.deepcopy(loop.raw_model).requires_grad_(True)
    batch = to_device(next(loop.runner._stream(0)), CPU)
    loss = F.cross_entropy(reference(batch["image"])["logits"].float(), batch["mask"], ignore_index=255)
    (gradient,) = torch.autograd.grad(loss, [reference.backbone.choice])
    assert gradient.abs().min() > 1e-6
    loop.runner.after_step(loop)
    after = dict(loop.raw_model.named_parameters())
    for name, value in before.named_parameters():
        expected = value - 0.01 * gradient.sign() if name == "backbone.choice" else value
        assert torch.allclose(after[name], expected, atol=1e-5), name
    assert float(loop.terms.pending[-1].terms["architecture"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_architecture_waits_for_its_first_step_and_weights_leave_it_alone(tmp_path):
    seen = []

    class Look(Record):
        def after_step(self, loop, terms):
            seen.append(loop.raw_model.backbone.choice.detach().clone())

    loop = loop_of(search(start_step=4), tmp_path, (Look(),))
    names = [name for name, p in loop.raw_model.named_parameters() if not p.requires_grad]
    assert names == ["backbone.choice"]
    loop.fit()
    assert [bool(value.any()) for value in seen] == [False] * 4 + [True] * 2
    assert not torch.equal(seen[4], seen[5])


def test_the_log_keeps_the_two_losses_apart(tmp_path):
    api.train(search(), tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "CrossEntropy" in line]
    assert "architecture" not in trained[0] and "architecture" in trained[-1]
    assert all(line.get("loss", line["CrossEntropy"]) == line["CrossEntropy"] for line in trained)


def test_a_search_goes_on_where_it_stopped(tmp_path):
    cfg = search()
    cfg["loop"] |= dict(accumulate=2, ema=0.9, steps=8)
    whole, first, second = Record(), Record(), Record()
    unbroken = loop_of(cfg, tmp_path / "a", (*standard_hooks(), whole))
    unbroken.fit()

    class Kill(Record):
        def after_step(self, loop, terms):
            super().after_step(loop, terms)
            if loop.step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop_of(cfg, tmp_path / "b", (*standard_hooks(), first, Kill())).fit()
    resumed = loop_of(cfg, tmp_path / "b", (*standard_hooks(), second))
    resumed.load_state_dict(checkpoint.read(tmp_path / "b/last.pt"), "last.pt")
    assert resumed.step == 4
    resumed.fit()
    assert first.losses + second.losses == whole.losses
    a, b = unbroken.raw_model.state_dict(), resumed.raw_model.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_resumed_search_keeps_its_settings():
    for change in (dict(start_step=3), dict(share=0.4), dict(lr=0.1)):
        found = changes(search(), search(**change))
        with pytest.raises(ConfigError, match=next(iter(change))):
            resume_rules.refuse(found, "last.pt")


def test_the_genotype_is_written_at_the_end(tmp_path):
    result = api.train(search(), tmp_path, device="cpu")
    written = json.loads((tmp_path / "genotype.json").read_text())
    assert written == {"way": int(result.model.backbone.choice.argmax())} == result.model.backbone.decode()
    before = (tmp_path / "genotype.json").read_text()
    assert before.endswith("}\n")


def test_what_cannot_be_searched_is_told(tmp_path):
    plain = sections() | {"runner": dict(type="SearchArchitecture", start_step=2)}
    with pytest.raises(ConfigError, match="TinyBackbone has no architecture to search; take a search network"):
        loop_of(plain, tmp_path)
    with pytest.raises(ConfigError, match=r"runner.start_step = 6: .* the run has 6 steps"):
        loop_of(search(start_step=6), tmp_path)


def test_two_parts_are_the_whole_set():
    whole = Shapes("train", 11, size=(32, 32), instances=False)
    part, rest = Part(whole, 0.3), Part(whole, 0.3, rest=True)
    assert (len(part), len(rest)) == (3, 8) and sorted([*part.ids, *rest.ids]) == whole.ids
    assert {*Part(whole, 0.3, seed=1).ids} != {*part.ids}
    index = whole.ids.index(part.ids[1])
    assert np.array_equal(part.mask(1), whole.mask(index)) and part.path(1) == whole.path(index)
    assert np.array_equal(part.sample(1, np.random.default_rng(0))["image"], whole.image(index))
    assert (part.classes, part.ignore, part.has_mask(0)) == (whole.classes, whole.ignore, True)
    assert [len(Part(whole, share)) for share in (0.001, 0.999)] == [1, 10]
    with pytest.raises(DataError, match="Shapes has 1 images; two parts need 2"):
        Part(Shapes("train", 1), 0.5)


@pytest.mark.slow
def test_two_processes_search_as_one(tmp_path):
    """The architecture's gradients are the mean over the processes, and its images are shared between them."""
    states = []
    for processes in (1, 2):
        cfg = search(start_step=1)
        cfg["model"]["backbone"]["type"] = "tests.test_search:PlainWays"
        cfg |= dict(val=None, loop=dict(steps=5, eval_every=0), optimizer=dict(type="SGD", lr=0.05))
        cfg["train"]["batch_size"] = 2 // processes
        (tmp_path / f"run{processes}.py").write_text(dump(cfg))
        torchrun(processes, tmp_path, "train", f"run{processes}.py", "--device", "cpu")
        states.append(checkpoint.read(tmp_path / f"work_dirs/run{processes}/last.pt")["model"])
        assert (tmp_path / f"work_dirs/run{processes}/genotype.json").is_file()
    one, two = states
    assert one["backbone.choice"].any()
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-5
