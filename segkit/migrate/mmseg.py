"""Configs of mmsegmentation 1.x as configs of segkit, https://github.com/open-mmlab/mmsegmentation.

The files are read as data (segkit.migrate.reading); what segkit has not is refused with its key.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.files import shortened
from segkit.migrate.data import migrate_loader
from segkit.migrate.model import Network, migrate_model
from segkit.migrate.optimizer import migrate_optimizer
from segkit.migrate.part import Part
from segkit.migrate.reading import read
from segkit.migrate.training import migrate_hooks, migrate_loop, migrate_schedule
from segkit.recipe.write import WIDTH, harmless, literal
from segkit.registry import ConfigError

OLD_KEYS = ("data", "lr_config", "optimizer_config", "runner", "total_iters")
"""Keys of mmsegmentation 0.x, where 1.x has train_dataloader, param_scheduler, optim_wrapper and train_cfg."""

KNOWN_IMPORTS = {"mmpretrain.models", "mmcls.models", "mmdet.models"}
"""Modules that custom_imports may name: what is read of them is known by its class."""

METRICS = ("mIoU", "mDice", "mFscore")
"""What IoUMetric measures; segkit's Confusion measures all three."""


@dataclass(frozen=True)
class Migrated:
    """A config of segkit made from one of mmsegmentation.

    Attributes:
        sections: of the config.
        notes: sentences on what differs.
        name: of the file that was read.
    """

    sections: dict[str, Any]
    notes: list[str]
    name: str

    @property
    def text(self) -> str:
        """The text of the config file."""
        # the name of somebody's file could end the docstring, and go on as code
        lines = [f'"""{harmless(self.name)} of mmsegmentation, written by segkit migrate."""', ""]
        lines += [f"{key} = {laid_out(value)}" for key, value in self.sections.items()]
        return "\n".join(lines) + "\n"


def migrate(path: Path, *, model_only: bool = False) -> Migrated:
    """Translates a config of mmsegmentation 1.x.

    Args:
        path: the .py file; its bases are read, too, and nothing is executed.
        model_only: leaves out the data and the training, as `segkit convert` needs it.

    Raises:
        ConfigError: the file cannot be read, or holds what segkit has not; the message names file and key.
    """
    return translated(read(path), path, model_only=model_only)


def translated(values: dict[str, Any], path: Path, *, model_only: bool = False) -> Migrated:
    """Translates the values of a config, which somebody else wrote; see migrate."""
    try:
        return _sections(values, path, model_only=model_only)
    except ConfigError:
        raise
    except Exception as error:
        # a number where a list must be, and the like: values that no config of mmsegmentation has
        place = _place_of(error) or "the config"
        reason = " ".join(shortened(error, 100).split())
        raise ConfigError(
            f"{path}: {place} has a value of another form than mmsegmentation's ({reason}); correct it"
        ) from error


def _place_of(error: Exception) -> str:
    """The path of the part that was read when an error came up, "" where it is not known."""
    place = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        parts = [value for value in frame.f_locals.values() if isinstance(value, Part)]
        place = next((part.path for part in parts if part.path), place)
    return place


def _sections(values: dict[str, Any], path: Path, *, model_only: bool) -> Migrated:
    source = str(path)
    whole = Part(values, "", source)
    if not whole.has("model"):
        raise ConfigError(f"{source}: has no `model`; name a config of mmsegmentation 1.x")
    if whole.has("data") and not whole.has("train_dataloader"):
        found = ", ".join(key for key in OLD_KEYS if whole.has(key))
        raise ConfigError(f"{source}: is a config of mmsegmentation 0.x ({found}); name one of 1.x")
    _imports(whole)
    network = migrate_model(whole.part("model"))
    sections: dict[str, Any] = {"model": network.model, "losses": network.losses}
    notes = list(network.notes)
    if model_only:
        return Migrated({"model": network.model, "losses": network.losses}, notes, path.name)
    sections |= _data(whole, notes)
    sections |= _training(whole, network, notes)
    sections |= {"inference": network.inference} if network.inference else {}
    if whole.has("load_from"):
        sections["init"] = {"path": str(whole.take("load_from"))}
    if "SyncBN" in repr(values["model"]):
        notes.append("norm_cfg is SyncBN: on several GPUs set loop.sync_bn=True; on one device both are the same")
    return Migrated(sections, notes, path.name)


def _imports(whole: Part) -> None:
    """Takes custom_imports, which may name the packages whose parts are known."""
    if not whole.has("custom_imports"):
        return
    names = whole.part("custom_imports").take("imports", ())
    listed = names if isinstance(names, tuple) else (names,)
    if not all(isinstance(name, str) and name in KNOWN_IMPORTS for name in listed):
        what = whole.values["custom_imports"]
        raise whole.refusal(
            "custom_imports", what, "code of other files is never run; remove it, or build the part here"
        )


def _data(whole: Part, notes: list[str]) -> dict[str, Any]:
    sections = {"train": migrate_loader(whole.part("train_dataloader"), notes, trains=True)}
    for name in ("val", "test"):
        if whole.has(f"{name}_dataloader"):
            sections[name] = migrate_loader(whole.part(f"{name}_dataloader"), notes, trains=False)
        for evaluator in whole.parts(f"{name}_evaluator"):
            evaluator.same("type", "IoUMetric")
            scores = evaluator.take("iou_metrics", ("mIoU",))
            if not isinstance(scores, tuple) or any(score not in METRICS for score in scores):
                raise evaluator.refusal("iou_metrics", scores, f"must be a list of {', '.join(METRICS)}")
            evaluator.same("ignore_index", 255)
            evaluator.skip("nan_to_num", "beta", "collect_device", "prefix")
            evaluator.done(" of IoUMetric")
    if sections.get("test") == sections.get("val"):
        sections.pop("test", None)  # segkit takes val where there is no test
    return sections


def _training(whole: Part, network: Network, notes: list[str]) -> dict[str, Any]:
    """Sections optimizer, schedule and loop."""
    optimizer, more = migrate_optimizer(whole.part("optim_wrapper"), network.names)
    optimizer |= {"freeze": network.freeze} if network.freeze else {}
    loop = migrate_loop(whole.part("train_cfg"))
    schedule = migrate_schedule(whole.parts("param_scheduler"), loop, notes)
    loop |= more | migrate_hooks(whole.part("default_hooks", {}), whole.parts("custom_hooks"))
    if "epochs" in loop:
        notes.append("epochs are no steps: set loop.eval_every and loop.save_every, which count steps")
    if whole.has("randomness"):
        randomness = whole.part("randomness")
        seed = randomness.take("seed", None)
        loop |= {} if seed is None else {"seed": seed}
        loop |= {"deterministic": True} if randomness.take("deterministic", False) else {}
        randomness.skip("diff_rank_seed")
        randomness.done()
    if loop.get("amp") == "fp16":
        notes.append("AmpOptimWrapper became loop.amp = 'fp16', which needs a GPU")
    if "patience" in loop:
        notes.append("loop.patience counts evaluations without any gain; EarlyStoppingHook has a least one, min_delta")
    return {"optimizer": optimizer, "schedule": schedule, "loop": loop}


def laid_out(value: Any, depth: int = 0) -> str:
    """Returns a value as Python code; what is longer than a line has a line for each of its entries."""
    short = literal(value)
    if len(short) + 4 * depth + 24 <= WIDTH or not isinstance(value, dict | list):
        return short
    pad = "    " * (depth + 1)
    if isinstance(value, list):
        inner = [f"{pad}{laid_out(item, depth + 1)}," for item in value]
        ends = "[", "]"
    elif all(isinstance(key, str) and key.isidentifier() for key in value):
        inner = [f"{pad}{key}={laid_out(item, depth + 1)}," for key, item in value.items()]
        ends = "dict(", ")"
    else:
        return short
    return "\n".join([ends[0], *inner, "    " * depth + ends[1]])
