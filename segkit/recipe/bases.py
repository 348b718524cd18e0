"""The recipes of configs/recipes, and which of them fits a task, a machine and a time."""

from dataclasses import dataclass

from segkit.recipe.facts import Task
from segkit.recipe.machine import GIB, LITE_WEIGHTS, Budget

FOLDER = "segkit:recipes/"

HOUR = 3600.0

FEW_IMAGES = 100
"""Training images below which the largest networks are not chosen."""


@dataclass(frozen=True)
class Recipe:
    """A base config, and the values that its other choices begin with.

    Args:
        name: of the file in configs/recipes.
        what: the network in words.
        crop_pixels: pixels of a training crop at most.
        batch: images of a step where memory and time allow.
        lr: learning rate of such a batch.
        seconds_per_megapixel: an estimate of the time of a training step, of one core or of one GPU.
        package: of pretrained weights that it needs; "" for those that timm fetches.
    """

    name: str
    what: str
    crop_pixels: int
    batch: int
    lr: float
    seconds_per_megapixel: float
    package: str = ""

    @property
    def base(self) -> str:
        """The name of the base config."""
        return f"{FOLDER}{self.name}.py"


LITE0, LITE2 = LITE_WEIGHTS
RECIPES = {
    # FastFCN was the first of fifteen systems in eight minutes on two cores: docs/results_semantic.md
    ("semantic", "small", "cpu"): Recipe(
        "small_cpu", "FastFCN on EfficientNet-Lite0", 352 * 512, 8, 2e-3, 1.9, package=LITE0
    ),
    ("semantic", "base", "cpu"): Recipe(
        "base_cpu", "FastFCN on EfficientNet-Lite0, wider, all of it trained", 512 * 512, 8, 2e-3, 3.2, package=LITE0
    ),
    ("semantic", "large", "cpu"): Recipe(
        "large_cpu", "FastFCN on EfficientNet-Lite2", 512 * 512, 8, 2e-3, 5.0, package=LITE2
    ),
    # networks of today take these places by another base and its learning rate
    ("semantic", "small", "gpu"): Recipe("small_gpu", "semantic FPN on ConvNeXt-Nano", 512 * 512, 16, 4e-4, 0.02),
    ("semantic", "base", "gpu"): Recipe("base_gpu", "UPerNet on ConvNeXt-Tiny", 512 * 512, 16, 1e-4, 0.06),
    ("semantic", "large", "gpu"): Recipe("large_gpu", "UPerNet on ConvNeXt-Base", 640 * 640, 16, 1e-4, 0.15),
    ("instances", "base", "cpu"): Recipe(
        "instances_cpu", "a small Mask2Former on EfficientNet-Lite0", 320 * 416, 4, 4e-4, 7.5, package=LITE0
    ),
    ("instances", "base", "gpu"): Recipe("instances_gpu", "Mask2Former on Swin-T", 640 * 640, 8, 1e-4, 0.15),
    ("boxes", "base", "cpu"): Recipe(
        "boxes_cpu", "a small Box2Mask-T on EfficientNet-Lite0", 320 * 416, 4, 4e-4, 10.0, package=LITE0
    ),
    ("boxes", "base", "gpu"): Recipe("boxes_gpu", "Box2Mask-T on Swin-T", 640 * 640, 8, 1e-4, 0.2),
    ("clicks", "base", "cpu"): Recipe(
        "clicks_cpu", "a click U-Net on EfficientNet-Lite0", 256 * 320, 8, 2e-3, 2.7, package=LITE0
    ),
    ("clicks", "base", "gpu"): Recipe("clicks_gpu", "RITM on HRNet-W18", 320 * 480, 16, 5e-4, 0.1),
}
"""(what is learned, size, device) -> recipe."""

WORK = {"small": 4 * HOUR, "base": 48 * HOUR}
"""Core seconds up to which a network of a size is chosen on a CPU."""

GPU_WORK = {"small": 0.5 * HOUR, "base": 6 * HOUR}
GPU_MEMORY = {"small": 8 * GIB, "base": 20 * GIB}
"""Seconds, and bytes of memory, up to which a network of a size is chosen on a GPU."""


def size_for(budget: Budget, images: int) -> tuple[str, str]:
    """Chooses the size of a semantic network.

    Args:
        budget: time and machine.
        images: to train on.

    Returns:
        "small", "base" or "large", and the reason.
    """
    machine = budget.machine
    if machine.is_gpu:
        by_time = next((size for size, most in GPU_WORK.items() if budget.seconds <= most), "large")
        by_memory = next((size for size, most in GPU_MEMORY.items() if machine.memory < most), "large")
        order = ("small", "base", "large")
        size = min(by_time, by_memory, key=order.index)
    else:
        work = budget.seconds * machine.cores
        size = next((size for size, most in WORK.items() if work <= most), "large")
    reason = f"{budget.words} on {machine.words}"
    if size == "large" and images < FEW_IMAGES:
        return "base", f"{reason}; {images} images are too few for the largest network"
    return size, reason


def recipe_for(task: Task, budget: Budget, images: int, *, has_masks: bool) -> tuple[Recipe, str]:
    """Chooses the base config.

    Args:
        task: what is learned.
        budget: time and machine.
        images: to train on.
        has_masks: whether objects have masks, and not boxes alone.

    Returns:
        The recipe, and the reason.
    """
    kind = "gpu" if budget.machine.is_gpu else "cpu"
    if task == "semantic":
        size, reason = size_for(budget, images)
        recipe = RECIPES[task, size, kind]
        if size == "large" and recipe.package and recipe.package not in budget.machine.packages:
            smaller = RECIPES[task, "base", kind]
            return smaller, f"{smaller.what}: {reason}; the larger one needs pip install {recipe.package}"
    else:
        taught = "boxes" if task == "instances" and not has_masks else task
        recipe = RECIPES[taught, "base", kind]
        reason = f"{budget.words} on {budget.machine.words}"
        if taught == "boxes":
            reason += "; objects have boxes alone"
    return recipe, f"{recipe.what}: {reason}"
