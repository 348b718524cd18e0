"""The test sets of a config, and how one of them is scored: bar, table and pictures."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segkit import dist
from segkit.config import merged
from segkit.data.dataset import Dataset
from segkit.data.transforms.sizes import as_size
from segkit.engine import setup
from segkit.engine.evaluate import evaluate
from segkit.engine.hooks import Hook
from segkit.engine.loop import Loop
from segkit.engine.notify import observing
from segkit.engine.pictures import Shower
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.types import Batch, Prediction

MOST_NAMES = 3
"""Classes that a message names."""


def score_set(
    model: Network,
    runner: Runner,
    data: setup.Evaluation,
    metrics: list,
    pictures: Path | None,
    show_count: int,
    name: str,
    say: Callable[[str], None] | None,
    hooks: Sequence[Hook] = (),
    watchers: Sequence[Shower] = (),
) -> dict[str, Any]:
    """Scores one test set, draws its pictures and says its table.

    Args:
        model: a trained network with its config.
        runner: makes predictions, pictures and tables.
        data: of the set.
        metrics: objects of section `metrics`.
        pictures: folder for pictures, None for none.
        show_count: pictures at most.
        name: of the set, "" for the only one.
        say: takes the table as text and switches a progress bar on; None for silence.
        hooks: see each batch.
        watchers: see each batch, and the scores at the end.

    Returns:
        The scores.
    """
    cfg, device = model.config, model.mean.device
    dtype = setup.amp_dtype(cfg.get("loop", {}).get("amp", "off") if device.type == "cuda" else "off", device)
    shower = None if pictures is None else runner.show(pictures, data.dataset, show_count)
    images = -(-len(data.dataset) // dist.world_size())
    bar = _Progress(images, is_shown=say is not None)
    observers: list[Hook | Shower] = [bar, *hooks, *watchers, *([] if shower is None else [shower])]
    try:
        scores = evaluate(runner, model, data, metrics, device=device, dtype=dtype, hooks=observers)
    finally:
        bar.close()
    for watcher in watchers:
        with observing(watcher):
            watcher.finish(metrics, scores)
    picture = None
    if shower is not None:
        with observing(shower):
            picture = shower.finish(metrics, scores)
    if dist.is_main() and say is not None:
        say((f"{name}\n" if name else "") + runner.table(scores))
        if picture is not None:
            say(f"picture: {picture}")
    return scores


class _Progress(Hook):
    """A bar on a terminal."""

    def __init__(self, total: int, *, is_shown: bool):
        from tqdm import tqdm

        is_off = None if is_shown and dist.is_main() else True  # None: where stderr is no terminal
        self.bar = tqdm(total=total, unit="image", disable=is_off, leave=False)

    def close(self) -> None:
        """Takes the bar away, before anything is printed."""
        self.bar.close()

    def after_batch(self, loop: Loop | None, predictions: Sequence[Prediction], batch: Batch) -> None:
        self.bar.update(len(predictions))


def type_of_set(section: dict) -> str:
    """Returns the name of the data set's type in a section."""
    return section["dataset"]["type"].rpartition(":")[2]


def test_sections(cfg: dict, split: str) -> dict[str, dict]:
    """Returns the data sections of a split by name, "" for a single set. `val` stands in for a missing `test`."""
    section = cfg.get(split) or cfg["val"]
    return {"": section} if "dataset" in section else dict(section)


def chosen_sets(sections: dict[str, dict], names: Sequence[str]) -> dict[str, dict]:
    """Returns the test sets of these names, all without names; ConfigError for a name that the config does not have."""
    for name in names:
        if name not in sections:
            known = list(filter(None, sections))
            way_out = f"the config names {', '.join(known)}" if known else "the config names no sets; leave it out"
            raise ConfigError(f"--sets {name}: {way_out}")
    parts = {name: section for name, section in sections.items() if not names or name in names}
    if any("type" not in (part.get("dataset") or {"type": ""}) for part in parts.values()):
        raise ConfigError("test.dataset: not loaded; load the model without predict_only to evaluate it")
    return parts


def config_of_set(cfg: dict, section: dict) -> dict:
    """Returns the config with the `inference` of a test set merged over the section `inference`."""
    return {**cfg, "inference": merged(cfg["inference"], section.get("inference") or {})}


def check_names(model: Network, dataset: Dataset, at: str) -> str:
    """Compares the classes that a model was trained on with those that it is scored on.

    Args:
        model: with the names of its classes, where its checkpoint holds them.
        dataset: to score on.
        at: config path of the data set.

    Returns:
        A warning where names differ that stand at one place alone, "" for none.

    Raises:
        ConfigError: there are more classes on one side, or one class has two numbers.
    """
    expected = list(dataset.classes)
    # a model from outside of segkit may have neither names nor their number
    known, width = getattr(model, "classes", None), getattr(model, "num_classes", None)
    names = list(known or ())
    count = len(names) or width
    if not expected or count is None or (count == 1 and len(expected) == 2):
        return ""
    data = f"{at} = {type(dataset).__name__}"
    if count != len(expected):
        raise ConfigError(
            f"{data}: has {len(expected)} classes{_shown(expected)}, the model was trained on {count}{_shown(names)}; "
            "score it on data of its own classes, or map the labels (label_map)"
        )
    places = {_plain(name): number for number, name in enumerate(expected)}
    counts = Counter(map(_plain, [*names, *expected]))
    for number, name in enumerate(names):
        other = places.get(_plain(name), number) if counts[_plain(name)] == 2 else number
        if other != number:
            raise ConfigError(
                f"{data}: class {number} of the model is '{name}', which is class {other} of the data; its class "
                f"{number} is '{expected[number]}'; name the classes of the data in the model's order, and map the "
                "labels (label_map)"
            )
    pairs = [(a, b) for a, b in zip(names, expected) if _plain(a) != _plain(b)]
    if not pairs:
        return ""
    listed = ", ".join(f"'{a}' is scored as '{b}'" for a, b in pairs[:MOST_NAMES])
    return f"{data}: {len(pairs)} of {count} classes have another name than those of the model: {listed}"


def _plain(name: str) -> str:
    """A name without what spellings of it differ in."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _shown(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:MOST_NAMES])}{', ...' if len(names) > MOST_NAMES else ''})"


def with_switches(cfg: dict, *, tta: bool, slide: bool, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Returns section `inference` with TTA and sliding window switched on.

    The window is inference.crop, or the size of the last training crop.

    Args:
        cfg: the sections.
        tta: whether TTA is switched on.
        slide: whether the sliding window is.
        say: takes a line that names the window, where the config's inference does not.

    Raises:
        ConfigError: there is no window to take.
    """
    # None of a config is a value left out, which the switches fill
    inference = {name: value for name, value in (cfg.get("inference") or {}).items() if value is not None}
    if tta:
        inference.setdefault("tta", {"scales": (0.75, 1.0, 1.25), "flip": True})
    if slide:
        rows = (cfg.get("train") or {}).get("transforms", [])
        crops = [row["size"] for row in rows if "Crop" in row["type"] and "size" in row]
        if "crop" not in inference and not crops:
            raise ConfigError("--slide: set inference.crop = (height, width); the training has no crop to take it from")
        inference["mode"] = "slide"
        if "crop" not in inference:
            inference["crop"] = height, width = as_size(crops[-1], "--slide: the training crop")
            if say is not None and dist.is_main():
                say(f"--slide: windows of {width}x{height} pixels, the training crop; inference.crop sets another size")
        height, width = as_size(inference["crop"], "inference.crop")
        inference.setdefault("stride", (max(height * 2 // 3, 1), max(width * 2 // 3, 1)))
    return inference
