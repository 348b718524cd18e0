"""Which images a checkpoint was trained on, for commands that must not judge them by it."""

from collections.abc import Callable
from pathlib import Path

from segkit.files import DataError
from segkit.registry import ConfigError


def seen_by(path: Path, say: Callable[[str], None], *, trust: bool) -> set[str] | None:
    """Returns the keys of the images that a checkpoint was trained on.

    Args:
        path: the checkpoint.
        say: takes a sentence where they are not known.
        trust: whether the config inside may name code outside of segkit.

    Returns:
        Keys as of pseudo_manifest.image_key; None where the training set cannot be built here.
    """
    from segkit.data.semantic.pseudo_labels import trained_on
    from segkit.engine import checkpoint
    from segkit.engine.setup import DataSets
    from segkit.schema import check_foreign

    config = checkpoint.read_any(path).get("config") or {}
    section = (config.get("train") or {}).get("dataset")
    try:
        if not section:
            raise DataError("the file does not say")
        if not trust:
            check_foreign({"train": {"dataset": section}}, str(path))
        return trained_on(DataSets().get(section, "train.dataset"))
    except (ConfigError, DataError, OSError) as error:
        say(f"{path}: which images it was trained on is not known ({error}); leaks between folds cannot be noticed")
        return None
