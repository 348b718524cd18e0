"""Peak memory of a process of a sharded training, by arithmetic on the meta device, against what torch counts.

    python benchmarks/sharding.py            # the table of docs/sharded_models.md
    python benchmarks/sharding.py --check    # the same arithmetic against tensors that a small training holds

A process of N holds 1/N of weights, gradients, moments of AdamW and the moving average, all of them float32. On top
come the weights of the two largest blocks that are gathered at a time (one computes while the next one arrives), what
is in no block and gathered for a whole step, and the activations of its own images, which are not shared out.
"""

import argparse
import gc
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segkit.models.blocks import recompute
from segkit.registry import build_model

MODELS = {
    "ViT-L": dict(name="vit_large_patch14_dinov2", img_size=(518, 518)),
    "ViT-g": dict(name="vit_giant_patch14_dinov2", img_size=(518, 518)),
}
PROCESSES = (1, 8, 16, 64)
GIB = 1 << 30
HALF, FULL = 2, 4
"""Bytes of a value in bfloat16 and float32."""


class Sizes(NamedTuple):
    """Numbers of values of a model.

    Attributes:
        all: parameters.
        block: of the largest block.
        rest: of what is in no block: gathered for a whole step.
    """

    all: int
    block: int
    rest: int


def sizes_of(model: nn.Module) -> Sizes:
    """Counts the parameters of a model's units."""
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.backbone.blocks().values()]
    total = sum(p.numel() for p in model.parameters())
    return Sizes(total, max(blocks), total - sum(blocks))


def kept_bytes(model: nn.Module, image: Tensor) -> int:
    """Bytes that the graph of a training pass keeps: on the meta device, weights and equal tensors counted once."""
    weights = {id(p.untyped_storage()) for p in model.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(x: Tensor) -> Tensor:
        if not isinstance(x, nn.Parameter) and id(x.untyped_storage()) not in weights:
            kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes(), x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        outputs = model(image)
    names = {x.untyped_storage()._cdata for x in outputs.values()}
    return sum(count for key, (count, _) in kept.items() if key not in names)


def state_bytes(sizes: Sizes, processes: int) -> dict[str, float]:
    """Bytes that a process holds at its peak, without activations."""
    share = sizes.all / processes
    gathered = 0 if processes == 1 else (2 * sizes.block + sizes.rest) * FULL
    return {
        "weights": share * FULL,
        "gradients": share * FULL,
        "optimizer": 2 * share * FULL,
        "average": share * FULL,
        "gathered": gathered,
    }


def model_of(encoder: dict) -> nn.Module:
    """A Segmentor on an encoder, without values."""
    with torch.device("meta"):
        cfg = dict(num_classes=150, backbone=dict(type="Timm", final_norm=True, **encoder), head=dict(type="FCNHead"))
        return build_model(cfg).train()


def table() -> None:
    """Prints the table of the docs: GiB of a process by model and number of processes, and its activations."""
    print("| model | parameters | processes | weights | gradients | AdamW | average | gathered | sum |")
    print("|---|---|---|---|---|---|---|---|---|")
    activations = []
    for name, encoder in MODELS.items():
        model = model_of(encoder)
        sizes = sizes_of(model)
        for processes in PROCESSES:
            parts = state_bytes(sizes, processes)
            cells = " | ".join(f"{value / GIB:.2f}" for value in (*parts.values(), sum(parts.values())))
            print(f"| {name} | {sizes.all / 1e6:.0f} M | {processes} | {cells} |")
        image = torch.empty(1, 3, *encoder["img_size"], device="meta")
        plain = kept_bytes(model, image)
        recompute(model.backbone.blocks().values())
        activations.append((name, plain / GIB, kept_bytes(model, image) / GIB))
    print("\n| activations of an image of 518 x 518, float32 | kept | blocks computed again |\n|---|---|---|")
    for name, plain, lean in activations:
        print(f"| {name} | {plain:.2f} | {lean:.2f} |")


def live_bytes() -> int:
    """Bytes of all storages that are alive in this process, each once; of shared out tensors this process's part."""
    from torch.distributed.tensor import DTensor

    found: dict[int, int] = {}
    for value in gc.get_objects():
        if issubclass(type(value), Tensor) and not value.is_meta:
            local = value.to_local() if isinstance(value, DTensor) else value
            storage = local.untyped_storage()
            if storage.size():
                found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def small_training(rank: int, processes: int, folder: str) -> None:
    """A step of a small sharded model: what its process holds, against the arithmetic."""
    import copy

    import torch.distributed as torch_dist

    from segkit import dist
    from segkit.engine.optim import Ema
    from segkit.engine.sharding import shard

    torch.set_num_threads(1)
    torch_dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    encoder = dict(type="Timm", name="vit_small_patch14_dinov2", img_size=(56, 56), final_norm=True)
    model = build_model(dict(num_classes=150, backbone=encoder, head=dict(type="FCNHead"))).train()
    sizes = sizes_of(model)
    ema = Ema(copy.deepcopy(model), 0.9)
    for module in (model, ema.module):
        shard(module, torch.device("cpu"), torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    gc.collect()
    before = live_bytes()
    seen_gathered = [0]
    for block in model.backbone.blocks().values():  # these hooks come behind those that gather its weights
        block.register_forward_pre_hook(lambda *_: seen_gathered.append(live_bytes() - before))
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 14, 14))
    model.train()
    loss = model(torch.rand(1, 3, 56, 56) * 255)["logits"].square().mean()
    loss.backward()
    optimizer.step()
    del loss
    for module in (m for m in model.modules() if hasattr(m, "reshard")):
        module.reshard()
    gc.collect()
    after = live_bytes()
    parts = state_bytes(sizes, processes)
    if rank == 0:
        print(
            f"{processes} processes, gathered: at most {parts['gathered'] / 1e6:.1f} MB by arithmetic, "
            f"{max(seen_gathered) / 1e6:.1f} MB seen before a block",
            flush=True,
        )
    expected = {"weights and average": parts["weights"] + parts["average"], "the whole state": sum(parts.values())}
    expected["the whole state"] -= parts["gathered"]
    for (name, bytes_), seen in zip(expected.items(), (before, after)):
        if rank == 0:
            print(
                f"{processes} processes, {name}: arithmetic {bytes_ / 1e6:.1f} MB, held {seen / 1e6:.1f} MB "
                f"({seen / bytes_ - 1:+.1%})",
                flush=True,
            )
    dist.stop()


def main() -> None:
    """Prints the table, or the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="run a small model in 2 and 4 processes")
    if not parser.parse_args().check:
        table()
        return
    for processes in (2, 4):
        with tempfile.TemporaryDirectory() as folder:
            from torch import multiprocessing

            multiprocessing.start_processes(
                small_training, (processes, str(Path(folder))), nprocs=processes, start_method="fork"
            )


if __name__ == "__main__":
    main()
