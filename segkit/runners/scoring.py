"""The test sets of a config, and how one of them is scored: bar, table and pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segkit import dist
from segkit.config import merged
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


def score_set(
    model: Network,
    runner: Runner,
    data: setup.Evaluation,
    metrics: list,
    pictures: Path | None,
    show_count: int,
    name: str,
    say: Callable[[str], None] | None,
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

    Returns:
        The scores.
    """
    cfg, device = model.config, model.mean.device
    dtype = setup.amp_dtype(cfg.get("loop", {}).get("amp", "off") if device.type == "cuda" else "off", device)
    shower = None if pictures is None else runner.show(pictures, data.dataset, show_count)
    images = -(-len(data.dataset) // dist.world_size())
    observers: list[Hook | Shower] = [] if say is None else [_Progress(images)]
    observers += [] if shower is None else [shower]
    scores = evaluate(runner, model, data, metrics, device=device, dtype=dtype, hooks=observers)
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

    def __init__(self, total: int):
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="image", disable=None if dist.is_main() else True, leave=False)

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


def with_switches(cfg: dict, *, tta: bool, slide: bool) -> dict[str, Any]:
    """Returns section `inference` with TTA and sliding window switched on.

    The window is inference.crop, or the size of the last training crop.
    """
    inference = dict(cfg.get("inference") or {})
    if tta:
        inference.setdefault("tta", {"scales": (0.75, 1.0, 1.25), "flip": True})
    if slide:
        rows = (cfg.get("train") or {}).get("transforms", [])
        crops = [row["size"] for row in rows if "Crop" in row["type"] and "size" in row]
        if "crop" not in inference and not crops:
            raise ConfigError("--slide: set inference.crop = (height, width); the training has no crop to take it from")
        inference["mode"] = "slide"
        crop = inference.setdefault("crop", crops[-1] if crops else ())
        height, width = (crop, crop) if isinstance(crop, int) else crop
        inference.setdefault("stride", (max(height * 2 // 3, 1), max(width * 2 // 3, 1)))
    return inference
