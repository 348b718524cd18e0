"""What the commands for images without labels share: checkpoints, images, and what looks at them with the models."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segkit.cli.common import reading_given
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.runners.labelling.drafts import Pictures
    from segkit.runners.labelling.judges import Judge
    from segkit.runners.self_training.rule import Rule


class Unlabelled(NamedTuple):
    """Images without labels, and the models that look at them."""

    judge: "Judge"
    pictures: "Pictures"


def load_unlabelled(args: argparse.Namespace, rule: "Rule", score: float, writes: Path) -> Unlabelled:
    """Loads the checkpoints and finds the images of a command.

    Args:
        args: of `pseudo.add_models`.
        rule: of semantic drafts.
        score: of instance drafts, the least score of an object.
        writes: file that the command writes in the end.

    Raises:
        ConfigError: checkpoints or images are missing or do not fit, or the command runs under torchrun.
        DataError: the file cannot be written.
    """
    from segkit import dist
    from segkit.cli.predict import find_images, names_of
    from segkit.cli.pseudo import load, split_words
    from segkit.engine.setup import pick_device
    from segkit.files import need_writable
    from segkit.runners.inputs import inputs_of
    from segkit.runners.labelling.drafts import Pictures
    from segkit.runners.labelling.judges import judge_of
    from segkit.runners.self_training.rule import Images, reading_of

    if dist.is_launched():
        raise ConfigError("this command runs in one process; start it without torchrun")
    checkpoints, paths = split_words(args.words)
    found = find_images(paths, writes.parent)
    names = names_of(found)
    need_writable(writes, "choose another --out")
    models = [load(path, args, pick_device(args.device)) for path in checkpoints]
    judge = judge_of(models, [str(path) for path in checkpoints], rule, score)
    inputs, files = inputs_of(models[0], **reading_given(args)), list(found)
    images = Images(
        [names[file] for file in files],
        [str(file) for file in files],
        lambda index: inputs.read(files[index]),
        reading_of(inputs.channels, inputs.reading),
    )
    return Unlabelled(judge, Pictures(images, [found[file].as_posix() for file in files]))
