"""What makes a step fast and must change no number: normalization by rows, memory that is kept, batches in place."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.api import build_runner
from segkit.cli.allocator import SWITCH, VARIABLES, keep_pages
from segkit.data.loader import TrainItems, collate_train, to_device, train_loader
from segkit.data.samplers import InOrder
from segkit.data.transforms.operations import pad
from segkit.engine.device_batches import DeviceBatches
from segkit.engine.loop import Loop
from segkit.engine.optim import _with_fused, build_optimizer
from segkit.files import DataError
from segkit.models.memory_layout import is_channels_last
from segkit.models.normalize import normalized
from segkit.types import Meta, Sample
from tests.data.test_loader import Numbers
from tests.tiny import sections

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalization_has_the_bits_of_its_formula(channels, dtype, layout):
    generator = torch.Generator().manual_seed(channels)
    image = torch.randint(0, 256, (2, channels, 7, 9), dtype=dtype, generator=generator).to(memory_format=layout)
    mean, std = torch.rand(2, 1, channels, 1, 1, generator=generator) * 100 + 1
    before = image.clone()
    found = normalized(image, mean, std)
    assert torch.equal(found, (image.float() - mean) / std) and found.dtype == torch.float32
    assert torch.equal(image, before), "the image must stay as it is"
    assert found.stride() == (image.float() - mean).stride() or channels == 1


def test_normalization_passes_gradients_to_the_image():
    image = torch.full((1, 3, 2, 2), 7.0).to(memory_format=torch.channels_last).requires_grad_()
    normalized(image, torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 4.0)).sum().backward()
    assert torch.equal(image.grad, torch.full((1, 3, 2, 2), 0.25))


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_travel_narrow_and_arrive_as_int64(workers):
    items = TrainItems(Numbers(), [], 0)
    batch = next(train_loader(items, InOrder(Numbers()), batch_size=2, workers=workers))
    assert batch["mask"].dtype == torch.uint8 and batch["image"].dtype == torch.uint8
    moved = to_device(batch, CPU)
    assert moved["mask"].dtype == torch.int64 and batch["mask"].dtype == torch.uint8
    samples = [Numbers().sample(i, np.random.default_rng(0)) for i in (0, 1)]
    assert torch.equal(moved["mask"], collate_train(samples)["mask"])


def test_mirrored_views_and_arrays_that_must_not_change_are_collated():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frozen = image.copy()
    frozen.flags.writeable = False
    samples = [Sample(image=array, meta=Meta(id="", path="", size=(2, 4))) for array in (image[:, ::-1], frozen)]
    batch = collate_train(samples)["image"]
    assert np.array_equal(batch[0].permute(1, 2, 0), image[:, ::-1]) and np.array_equal(
        batch[1].permute(1, 2, 0), image
    )


def test_a_batch_of_a_worker_lies_in_shared_memory():
    batch = next(train_loader(TrainItems(Numbers(4), [], 0), InOrder(Numbers(4)), batch_size=1, workers=1))
    assert batch["image"].is_shared()


@pytest.mark.parametrize("fill, expected", [(7, [7, 7, 7]), ((1, 2, 3), [1, 2, 3])])
def test_padding_has_the_color_asked_for(fill, expected):
    sample = Sample(image=np.zeros((1, 2, 3), np.uint8), meta=Meta(id="", path="", size=(1, 2)))
    assert pad(sample, (2, 3), fill=fill)["image"][1, 2].tolist() == expected


@pytest.mark.parametrize("name", [*VARIABLES, "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_an_allocator_that_is_chosen_already_stays(name):
    environment = {name: "libjemalloc.so"}
    assert not keep_pages(environment) and environment == {name: "libjemalloc.so"}


def test_kept_memory_is_switched_off_by_its_variable():
    environment = {SWITCH: "0"}
    assert not keep_pages(environment) and environment == {SWITCH: "0"}


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    environment: dict[str, str] = {}
    assert not keep_pages(environment) and not environment


def test_freed_memory_is_kept_and_said_to_later_processes(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return int((parameter, value) != (-3, 1 << 30))  # as versions of glibc before 2.35

    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
    environment: dict[str, str] = {}
    assert keep_pages(environment) and environment == VARIABLES
    assert calls == [(-3, 1 << 30), (-3, 32 << 20), (-1, -1), (-2, 16 << 20)]


class Waits(TorchDispatchMode):
    """Counts what makes a program wait for its device: values read as numbers, and shapes that depend on values."""

    OPERATIONS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")
    INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in self.INDEXED and any(index is not None and index.dtype == torch.bool for index in args[1])
        if by_mask or name in self.OPERATIONS:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_the_stub_counts_waits():
    with Waits() as waits:
        value = torch.ones(2).sum()
        value.item(), bool(value), float(value)
        torch.ones(2)[torch.tensor([True, False])]
    assert waits.found.count("_local_scalar_dense") == 3 and len(waits.found) >= 4


@pytest.mark.parametrize("loop", [{}, dict(clip=1.0, ema=0.9, accumulate=2)])
def test_nothing_waits_for_the_device_between_two_lines_of_the_log(tmp_path, loop):
    cfg = sections(**loop)
    training = Loop(cfg, build_runner(cfg), work_dir=tmp_path, device=CPU)
    data = DeviceBatches(training.batches(), CPU, training.settings.accumulate, 3)
    training.train_step(data.take())
    with Waits() as waits:
        training.train_step(data.take())
    assert waits.found == []


class Numbered:
    """Endless batches that count how many were read; the one of number `bad` cannot be."""

    def __init__(self, bad: int = -1):
        self.read, self.bad = 0, bad

    def __iter__(self):
        return self

    def __next__(self):
        if self.read == self.bad:
            raise DataError("image.png: damaged")
        self.read += 1
        return {"image": torch.full((1, 1, 1, 1), self.read)}


def values(batches) -> list[int]:
    return [int(batch["image"]) for batch in batches]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_batches_come_in_order_and_none_is_read_beyond_the_last_step(is_ahead):
    loader = Numbered()
    data = DeviceBatches(loader, CPU, 2, 3)
    data.is_ahead = is_ahead
    data.start()
    assert loader.read == 2
    taken, read = [], []
    for _ in range(3):
        taken.append(values(data.take()))
        data.prepare()
        read.append(loader.read)
    assert taken == [[1, 2], [3, 4], [5, 6]]
    assert read == ([4, 6, 6] if is_ahead else [2, 4, 6])


def test_an_error_ahead_belongs_to_the_next_step():
    data = DeviceBatches(Numbered(bad=1), CPU, 1, 3)
    data.is_ahead = True
    data.start()
    assert values(data.take()) == [1]
    data.prepare()  # must not end the step that runs
    with pytest.raises(DataError, match="damaged"):
        data.take()


def test_nothing_is_read_where_no_step_is_left():
    loader = Numbered()
    DeviceBatches(loader, CPU, 1, 0).start()
    assert loader.read == 0


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_fused_updates_are_those_of_the_formula(kind):
    ends = []
    for fused in (False, True):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3)
        optimizer = build_optimizer(dict(type=kind, lr=0.1, weight_decay=0.01, fused=fused), layer)
        for step in range(3):
            layer(torch.full((2, 5), step + 1.0)).square().mean().backward()
            optimizer.step()
        ends.append(layer.weight.detach())
    assert torch.allclose(*ends, rtol=1e-5, atol=1e-7)


class OnGpu(torch.nn.Parameter):
    """A parameter that says it lies on a GPU."""

    device = torch.device("cuda", 0)


def test_gpus_update_by_one_kernel_and_configs_win():
    here, there = [dict(params=[torch.nn.Parameter(torch.ones(2))])], [dict(params=[OnGpu(torch.ones(2))])]
    assert _with_fused(dict(type="AdamW"), there) == dict(type="AdamW", fused=True)
    assert _with_fused(dict(type="AdamW"), here) == dict(type="AdamW")
    assert _with_fused(dict(type="AdamW"), [*here, *there]) == dict(type="AdamW")
    assert _with_fused(dict(type="SGD", foreach=False), there) == dict(type="SGD", foreach=False)
    assert _with_fused(dict(type="RMSprop"), there) == dict(type="RMSprop")
    assert _with_fused(dict(type="my:Own"), there) == dict(type="my:Own")


def network_of(convolutions: int, linear: int) -> torch.nn.Module:
    with torch.device("meta"):
        return torch.nn.Sequential(torch.nn.Conv2d(convolutions, 1, 1), torch.nn.Linear(linear, 1, bias=False))


@pytest.mark.parametrize(
    "convolutions, linear, device, dtype, expected",
    [
        (2_000_000, 1_000_000, "cpu", torch.float32, True),
        (2_000_000, 3_000_000, "cpu", torch.float32, False),
        (900_000, 1, "cpu", torch.float32, False),
        (2_000_000, 1, "cuda", torch.float32, False),
        (2_000_000, 1, "cuda", torch.bfloat16, True),
        (2_000_000, 1, "mps", torch.float32, False),
    ],
)
def test_auto_chooses_the_layout_by_network_and_device(convolutions, linear, device, dtype, expected):
    model = network_of(convolutions, linear)
    assert is_channels_last("auto", model, torch.device(device), dtype) is expected
    assert is_channels_last(True, model, torch.device(device), dtype)
    assert not is_channels_last(False, model, torch.device(device), dtype)


def test_the_layout_that_auto_chooses_gives_the_same_outputs():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.BatchNorm2d(64), torch.nn.Conv2d(64, 8, 3, padding=1)
    model, image = torch.nn.Sequential(*layers).eval(), torch.rand(2, 3, 16, 16)
    expected = model(image)
    found = model.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-5)
