"""Sections `train`, `val` and `test` from mmsegmentation's data loaders."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from segkit.data.semantic.coco_stuff import COCOStuff
from segkit.migrate.known_sets import FILES, Files
from segkit.migrate.part import Part, look_up

Section = dict[str, Any]

MULTIPLE = "ResizeToMultiple before evaluation is left out: networks here take any size, so scores differ a little"
"""Of PoolFormer's configs."""

OWN = "; a class of one's own: write BaseSegDataset with metainfo in its place, or migrate with --model-only"
"""For the error of an unknown data set."""

LOADING = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs", "GenerateEdge")
"""Steps of a pipeline that segkit does without being told."""

CITYSCAPES_SIZE = (1024, 2048)
"""Height and width of its images, which a fitting Resize leaves as they are."""


def migrate_loader(loader: Part, notes: list[str], *, trains: bool) -> Section:
    """Translates a data loader.

    Args:
        loader: train_dataloader, val_dataloader or test_dataloader.
        notes: gets sentences on what differs.
        trains: whether its images are augmented and shuffled.

    Raises:
        ConfigError: it has what segkit has not; the message names the key.
    """
    section: Section = {}
    size, workers = loader.number("batch_size", 1), loader.number("num_workers", 0)
    sampler = loader.part("sampler", {"type": "InfiniteSampler" if trains else "DefaultSampler"})
    look_up(dict.fromkeys(("InfiniteSampler", "DefaultSampler")), sampler.type(), sampler, "sampler")
    sampler.same("shuffle", trains)
    sampler.skip("seed", "round_up")
    sampler.done()
    loader.skip("persistent_workers", "pin_memory", "prefetch_factor", "drop_last", "collate_fn", "worker_init_fn")
    dataset, pipeline, zero_label = _dataset(loader.part("dataset"))
    section["dataset"] = dataset
    if not trains and (last := [step for step in pipeline if step.values.get("type") == "ResizeToMultiple"]):
        pipeline = [step for step in pipeline if step not in last]
        notes += [MULTIPLE] if MULTIPLE not in notes else []
    transforms = _pipeline(pipeline, dataset, zero_label)
    section |= {"transforms": transforms} if transforms else {}
    section |= {"batch_size": size, "workers": workers} if trains else {}
    loader.done()
    return section


def _dataset(part: Part) -> tuple[Section, list[Part], bool]:
    """A data set, its pipeline, and whether label 0 is left out by the set itself."""
    name = part.type()
    if name == "ConcatDataset":
        return _augmented_voc(part)
    if name == "RepeatDataset":  # an endless sampler sees each image as often
        part.skip("times")
        inner = part.part("dataset")
        part.done(" of RepeatDataset")
        return _dataset(inner)
    known = DATASETS | dict.fromkeys(FILES, _files)
    made, zero_label = look_up(known, name, part, "data set", OWN)(part)
    pipeline = part.parts("pipeline")
    part.skip("test_mode", "lazy_init", "serialize_data", "backend_args")
    part.same("indices", None)
    part.same("filter_cfg", None)
    part.same("ignore_index", 255)
    part.done(f" of {name}")
    return made, pipeline, zero_label


def _prefixes(part: Part) -> tuple[str, str]:
    """The folders of images and masks."""
    prefix = part.part("data_prefix")
    images, masks = prefix.take("img_path"), prefix.take("seg_map_path")
    prefix.done()
    return str(images).rstrip("/"), str(masks).rstrip("/")


def _split(part: Part, splits: dict[tuple[str, str], str]) -> dict[str, Any]:
    """root and split of a set whose splits are known by their folders."""
    folders = _prefixes(part)
    if folders not in splits:
        raise part.refusal("data_prefix", folders, f"segkit's split of this set is one of {list(splits)}")
    part.same("ann_file", "", None)
    return {"root": part.take("data_root", None), "split": splits[folders]}


def _cityscapes(part: Part) -> tuple[Section, bool]:
    splits = {(f"leftImg8bit/{name}", f"gtFine/{name}"): name for name in ("train", "val", "test")}
    _plain_classes(part)
    part.same("img_suffix", "_leftImg8bit.png")
    part.same("seg_map_suffix", "_gtFine_labelTrainIds.png")
    part.same("reduce_zero_label", False)
    return {"type": "Cityscapes", **_split(part, splits)}, False


def _ade20k(part: Part) -> tuple[Section, bool]:
    folders = {"training": "train", "validation": "val", "testing": "test"}
    splits = {(f"images/{name}", f"annotations/{name}"): split for name, split in folders.items()}
    _plain_classes(part)
    part.same("img_suffix", ".jpg")
    part.same("seg_map_suffix", ".png")
    part.same("reduce_zero_label", True)
    return {"type": "ADE20K", **_split(part, splits)}, True


def _coco_stuff(part: Part) -> tuple[Section, bool]:
    if part.values.get("reduce_zero_label"):  # the 10,000 images of 2014
        return _listed(part, Files(list(COCOStuff.classes), "_labelTrainIds", True))
    splits = {(f"images/{name}2017", f"annotations/{name}2017"): name for name in ("train", "val")}
    _plain_classes(part)
    part.same("img_suffix", ".jpg")
    part.same("seg_map_suffix", "_labelTrainIds.png")
    part.same("reduce_zero_label", False)
    return {"type": "COCOStuff", **_split(part, splits)}, False


def _voc(part: Part) -> tuple[Section, bool]:
    _plain_classes(part)
    folders, listed = _prefixes(part), str(part.take("ann_file"))
    lists = {f"ImageSets/Segmentation/{name}.txt": name for name in ("train", "val", "trainval")}
    if folders != ("JPEGImages", "SegmentationClass") or listed not in lists:
        raise part.refusal("ann_file", (folders, listed), f"segkit reads JPEGImages and one of {list(lists)}")
    part.same("reduce_zero_label", False)
    return {"type": "VOC", "root": part.take("data_root", None), "split": lists[listed]}, False


def _augmented_voc(part: Part) -> tuple[Section, list[Part], bool]:
    """VOC's train list and SBD's aug list one after the other: the split "train_aug"."""
    sets = part.parts("datasets")
    kinds = [(inner.values.get("type"), inner.values.get("ann_file")) for inner in sets]
    lists = [("PascalVOCDataset", f"ImageSets/Segmentation/{name}.txt") for name in ("train", "aug")]
    if kinds != lists:
        raise part.refusal("datasets", kinds, f"segkit migrates {lists}; for others write dict(type='Concat', ...)")
    part.done(" of ConcatDataset")
    first = sets[0]
    pipeline = first.parts("pipeline")
    return {"type": "VOC", "root": first.take("data_root", None), "split": "train_aug"}, pipeline, False


def _files(part: Part) -> tuple[Section, bool]:
    """A set of FILES."""
    return _listed(part, FILES[str(part.values["type"]).rpartition(".")[2]])


def _listed(part: Part, files: Files) -> tuple[Section, bool]:
    """Folder, for a set whose classes are known."""
    part.skip("img_suffix")  # found here by themselves
    part.same("seg_map_suffix", f"{files.mask_suffix}.png")
    zero_label = bool(part.take("reduce_zero_label", files.reduce_zero_label))
    images, masks = _prefixes(part)
    listed = part.take("ann_file", "")
    made: Section = {"type": "Folder", "root": part.take("data_root", None) or ".", "classes": tuple(files.classes)}
    chosen = (part.part("metainfo", {}) if part.has("metainfo") else Part({}, "", part.source)).take("classes", None)
    part.skip("metainfo")
    if chosen is not None and chosen != made["classes"]:
        if zero_label or not {*chosen} <= {*files.classes}:
            raise part.refusal("metainfo", chosen, f"must be some of {', '.join(files.classes)}, without zero label")
        places = {name: chosen.index(name) for name in chosen}
        made["classes"] = chosen
        made["label_map"] = {
            label: places.get(name, "ignore") for label, name in enumerate(files.classes) if places.get(name) != label
        }
    made |= {"images": images, "masks": masks}
    made |= {"split": listed} if listed else {}
    made |= {"mask_suffix": files.mask_suffix} if files.mask_suffix else {}
    made |= {"reduce_zero_label": True} if zero_label else {}
    return made, zero_label


def _plain_classes(part: Part) -> None:
    """metainfo of a known set, which must not choose among its classes."""
    value = part.take("metainfo", None)
    if value:
        raise part.refusal("metainfo", value, "segkit's set has all its classes; use BaseSegDataset for others")


def _own(part: Part) -> tuple[Section, bool]:
    """BaseSegDataset with metainfo: images and masks of the user's own in folders."""
    info = part.part("metainfo")
    classes, palette = info.take("classes"), info.take("palette", None)
    info.skip("label_map", "dataset_type", "task_name")
    info.done()
    images, masks = _prefixes(part)
    listed, root = part.take("ann_file", ""), part.take("data_root", "") or "."
    if part.take("img_suffix", ".jpg") not in (".jpg", ".png", ".tif", ".tiff", ".bmp", ".jpeg"):
        raise part.refusal("img_suffix", part.values["img_suffix"], "must be a suffix alone, such as .jpg")
    suffix, zero_label = str(part.take("seg_map_suffix", ".png")), bool(part.take("reduce_zero_label", False))
    end = suffix.rpartition(".")[0]
    made: Section = {"type": "Folder", "root": root, "classes": tuple(classes), "images": images, "masks": masks}
    made |= {"split": listed} if listed else {}
    made |= {"palette": palette} if palette else {}
    made |= {"mask_suffix": end} if end else {}
    made |= {"reduce_zero_label": True} if zero_label else {}
    return made, zero_label


DATASETS: dict[str, Callable[[Part], tuple[Section, bool]]] = {
    "CityscapesDataset": _cityscapes,
    "ADE20KDataset": _ade20k,
    "PascalVOCDataset": _voc,
    "COCOStuffDataset": _coco_stuff,
    "BaseSegDataset": _own,
}
"""mmsegmentation's data sets; each gives the data set and whether it leaves out label 0."""


def _pipeline(steps: list[Part], dataset: Section, zero_label: bool) -> list[Section]:
    """The transforms of a pipeline."""
    made: list[Section] = []
    for step in steps:
        name = step.type()
        if name == "LoadAnnotations":
            value = step.take("reduce_zero_label", None)
            if value is not None and bool(value) != zero_label and dataset["type"] != "Folder":
                raise step.refusal("reduce_zero_label", value, f"segkit's {dataset['type']} has {zero_label}")
            if value and dataset["type"] == "Folder":
                dataset["reduce_zero_label"] = True
        if name in LOADING:
            step.skip("backend_args", "imdecode_backend", "meta_keys", "edge_width")
            step.same("color_type", "color")
            step.same("to_float32", False)
        else:
            made += look_up(TRANSFORMS, name, step, "transform")(step)
        step.done(f" of {name}")
    return _at_known_size(made) if dataset["type"] == "Cityscapes" else made


def _at_known_size(steps: list[Section]) -> list[Section]:
    """Cityscapes' transforms: its images fit as they are, and a crop is cut before it is resized, which is faster."""
    kept = [step for step in steps if step != {"type": "Resize", "size": CITYSCAPES_SIZE, "keep_ratio": True}]
    for position, (step, following) in enumerate(pairwise(kept)):
        fits = step["type"] == "RandomResize" and step["scale"] == CITYSCAPES_SIZE and "keep_ratio" not in step
        if fits and following["type"] == "RandomCrop":
            low, high = step["ratio_range"]
            kept[position : position + 2] = [{**following, "type": "RandomScaleCrop", "low": low, "high": high}]
            break
    return kept


def _sides(part: Part, key: str) -> tuple[int, int]:
    """(height, width) of mmcv's (width, height)."""
    width, height = part.pair(key)
    return height, width


def _random_resize(part: Part) -> list[Section]:
    made: Section = {"type": "RandomResize", "scale": _sides(part, "scale"), "ratio_range": _range(part, "ratio_range")}
    made |= {} if part.take("keep_ratio", False) else {"keep_ratio": False}
    part.same("resize_type", "Resize")
    return [made]


def _range(part: Part, key: str) -> tuple[float, float]:
    value = part.numbers(key)
    if len(value) != 2:
        raise part.refusal(key, value, "must be two numbers")
    return value[0], value[1]


def _resize(part: Part) -> list[Section]:
    part.same("scale_factor", None)
    part.same("interpolation", "bilinear")
    made: Section = {"type": "Resize", "size": _sides(part, "scale")}
    return [made | ({"keep_ratio": True} if part.take("keep_ratio", False) else {})]


def _short_sides(part: Part) -> list[Section]:
    part.same("resize_type", "ResizeShortestEdge", stated=True)
    sides = part.numbers("scales")
    if not all(isinstance(side, int) for side in sides):
        raise part.refusal("scales", sides, "must be lengths of the shorter side")
    return [{"type": "RandomShortSide", "sides": sides, "long": part.take("max_size", None)}]


def _crop(part: Part) -> list[Section]:
    part.same("ignore_index", 255)
    ratio = part.number("cat_max_ratio", 1.0)
    return [
        {"type": "RandomCrop", "size": part.pair("crop_size")} | ({} if ratio == 1 else {"cat_max_ratio": float(ratio)})
    ]


def _flip(part: Part) -> list[Section]:
    made: Section = {"type": "Flip"}
    probability = part.number("prob", 0.5)
    made |= {} if probability == 0.5 else {"p": probability}
    direction = part.take("direction", "horizontal")
    if direction not in ("horizontal", "vertical"):
        raise part.refusal("direction", direction, "must be 'horizontal' or 'vertical'")
    return [made if direction == "horizontal" else {**made, "direction": direction}]


def _photometric(part: Part) -> list[Section]:
    made: Section = {"type": "Photometric"}
    for theirs, ours, default in (
        ("brightness_delta", "brightness", 32),
        ("contrast_range", "contrast", (0.5, 1.5)),
        ("saturation_range", "saturation", (0.5, 1.5)),
        ("hue_delta", "hue", 18),
    ):
        value = part.take(theirs, default)
        made |= {} if value == default else {ours: value}
    return [made]


def _pad(part: Part) -> list[Section]:
    part.same("size_divisor", None)
    part.same("pad_to_square", False)
    part.same("pad_val", 0, {"img": 0, "seg": 255})
    part.same("padding_mode", "constant")
    return [{"type": "Pad", "size": _sides(part, "size")}]


def _rotate(part: Part) -> list[Section]:
    part.same("pad_val", 0)
    part.same("seg_pad_val", 255)
    part.same("center", None)
    part.same("auto_bound", False)
    degree = part.take("degree")
    return [{"type": "RandomRotate", "degrees": degree, "p": part.number("prob")}]


TRANSFORMS: dict[str, Callable[[Part], list[Section]]] = {
    "RandomResize": _random_resize,
    "Resize": _resize,
    "RandomChoiceResize": _short_sides,
    "RandomCrop": _crop,
    "RandomFlip": _flip,
    "PhotoMetricDistortion": _photometric,
    "Pad": _pad,
    "RandomRotate": _rotate,
}
"""mmsegmentation's transforms."""
