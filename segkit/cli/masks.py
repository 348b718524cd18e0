"""What the commands on masks of overlapping classes share: the model, its runner and the images."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.engine.setup import Evaluation
    from segkit.models.bases import Network
    from segkit.runners.multi_label import MultiLabel


class Predicting(NamedTuple):
    """A model in evaluation mode, its runner, the images of a section, and what moves the progress bar."""

    model: "Network"
    runner: "MultiLabel"
    data: "Evaluation"
    tick: Callable[[int], object]


@contextlib.contextmanager
def predicting(args: argparse.Namespace) -> Iterator[Predicting]:
    """Context manager that loads a checkpoint and a section of its config, within the process group of torchrun.

    Args:
        args: of a command: checkpoint, config, split, tta, slide, device, trust, cfg_options.

    Raises:
        ConfigError: the config has another runner than MultiLabel, no such section, or several test sets.
    """
    from tqdm import tqdm

    from segkit import api, dist
    from segkit.engine import setup
    from segkit.engine.world import joined
    from segkit.runners.multi_label import MultiLabel
    from segkit.runners.scoring import check_names, with_switches
    from segkit.settings import LoopSettings

    device = setup.pick_device(args.device)
    model = api.load_model(args.config, args.checkpoint, device, args.cfg_options, trust=args.trust)
    cfg = model.config
    section = cfg.get(args.split)
    if not section:
        raise ConfigError(f"--split {args.split}: the config has no section `{args.split}`")
    if "dataset" not in section:
        raise ConfigError(f"{args.split}: has several sets ({', '.join(section)}); give a config with one of them")
    with joined(device, LoopSettings(**(cfg.get("loop") or {})).process_timeout, cfg):
        cfg["inference"] = with_switches(cfg, tta=args.tta, slide=args.slide, say=print)
        runner = api.build_runner(cfg)
        if not isinstance(runner, MultiLabel):
            raise ConfigError(
                f"runner = {type(runner).__name__}: predicts no mask of each class; this command is for models with "
                "runner = dict(type='MultiLabel')"
            )
        data = setup.build_evaluation(section, args.split, device)
        check_names(model, data.dataset, f"{args.split}.dataset")
        images = -(-len(data.dataset) // dist.world_size())
        with tqdm(total=images, unit="image", disable=None if dist.is_main() else True, leave=False) as bar:
            yield Predicting(model, runner, data, bar.update)
