"""Memory of the losses of queries on a crowded image: what one step needs beyond a loss that merely reads the outputs.

200 objects in 2048 x 2048 pixels, 100 queries, 10 prediction sets of masks of 512 x 512. Each step runs in a process of
its own, whose largest resident memory counts. Both hold the outputs and their gradients, which are the network's; "with
masks" counts the objects' own masks (uint8) as the loss's.

Run by hand: python benchmarks/mask_loss_memory.py
"""

import resource
import subprocess
import sys

import torch

from segkit.losses.instances.mask2former_masks import Mask2FormerMasks

SIDE, OBJECTS, QUERIES, SETS, CLASSES = 2048, 200, 100, 10, 80
BUDGET = 2 * 1024  # MiB


def peak() -> float:
    """Largest resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(points: int) -> None:
    """One forward and backward pass; points < 0: of the mean square of all outputs. Prints MiB."""
    generator = torch.Generator().manual_seed(0)
    side = SIDE // 4
    classes = [torch.randn(1, QUERIES, CLASSES + 1, generator=generator) for _ in range(SETS)]
    maps = [torch.randn(1, QUERIES, side, side, generator=generator) for _ in range(SETS)]
    for outputs in (*classes, *maps):
        outputs.requires_grad_()
        outputs.grad = torch.zeros_like(outputs)
    masks = torch.zeros(0 if points < 0 else OBJECTS, SIDE, SIDE, dtype=torch.uint8)
    for i, mask in enumerate(masks):
        y, x = divmod(i, 20)
        mask[200 * y : 200 * y + 150, 100 * x : 100 * x + 80] = 1
    if points < 0:
        # set by set, as no gradient of all outputs at once is needed for it
        for outputs in (*classes, *maps):
            outputs.square().mean().backward()
    else:
        labels = torch.randint(CLASSES, (OBJECTS,), generator=generator)
        terms = Mask2FormerMasks(points=points)(classes, maps, [labels], [masks])
        sum(terms.values()).backward()
    print(peak())


def measured(points: int) -> float:
    """Peak of `step` in a process of its own."""
    run = subprocess.run([sys.executable, __file__, str(points)], capture_output=True, text=True, check=True)
    return float(run.stdout)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        step(int(sys.argv[1]))
    else:
        reference, ours = measured(-1), measured(12544)
        masks = OBJECTS * SIDE * SIDE / 2**20
        print(f"outputs read alone: {reference:.0f} MiB")
        print(f"Mask2FormerMasks: {ours - reference:.0f} MiB more with masks, {ours - reference - masks:.0f} without")
        assert ours - reference < BUDGET, f"more than {BUDGET} MiB beyond the network"
