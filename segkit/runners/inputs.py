"""What a trained model is given to predict: files, arrays and pictures as images of the kind that it was trained on."""

from typing import Any

from segkit.config import Config
from segkit.data.dataset import (
    Bands,
    NoData,
    Reading,
    ScaleRange,
)
from segkit.engine import setup
from segkit.files import check_plain
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.input_images import Inputs, chosen_inputs
from segkit.schema import check, check_foreign

NEEDED = ("model", "inference", "runner", "loop")
"""Sections of a config that a prediction reads whole."""

READING = Reading._fields
"""Arguments of data sets that say how their images are read."""


def inputs_of(
    model: Network,
    *,
    exif: bool | None = None,
    nodata: NoData = None,
    scale: ScaleRange | str = None,
    bands: Bands | str = None,
) -> Inputs:
    """Returns how a model's images are read: its channels, and the reading of the data set in its config.

    Args:
        model: with its config, or without one.
        exif, nodata, scale, bands: in place of the config's, see Reading; None for those, and "none" for no scale and
            all bands.

    Raises:
        ConfigError: one of them has a wrong value, or other bands are chosen than the model has channels.
    """
    given = {"exif": exif, "nodata": nodata, "scale": scale, "bands": bands}
    options = reading_options(getattr(model, "config", None) or {})
    return chosen_inputs(int(model.mean.shape[1]), float(model.mean.max()) > 2, options, given)


def reading_options(cfg: dict) -> dict[str, Any]:
    """Finds the fields of Reading in the data set of the first section of test, val and train that the config has.

    Of several named test sets, and of data sets in others, the first counts that states the key.
    """
    sections = [cfg[name] for name in ("test", "val", "train") if cfg.get(name)][:1]
    return {name: _first(sections, name) for name in READING}


BESIDE_DATA = ("transforms", "sampler")
"""Keys of data sections that hold no data set, but arguments of the same names."""


def _first(value: Any, name: str) -> Any:
    """The first value of a key at any depth of dicts and lists, transforms left out, None without one."""
    if isinstance(value, dict):
        if value.get(name) is not None:
            return value[name]
        value = [inner for key, inner in value.items() if key not in BESIDE_DATA]
    for inner in value if isinstance(value, list | tuple) else ():
        found = _first(inner, name) if isinstance(inner, dict | list | tuple) else None
        if found is not None:
            return found
    return None


def sections_to_predict(cfg: Config, *, is_foreign: bool) -> Config:
    """Returns a checked config of what a prediction needs: model, inference, runner, and the transforms of `test`.

    Data sets, losses, metrics and the rest are left out, whatever classes they name; of the data set the fields of
    Reading stay, and of the training its crops, which say how large a sliding window is.

    Args:
        cfg: all sections.
        is_foreign: whether they come out of a file that is not trusted and may name registered classes alone.

    Raises:
        ConfigError: what is needed is wrong, or names code outside of segkit.
    """
    if is_foreign:
        check_plain(dict(cfg), f"{cfg.file}, 'config'", ConfigError)
    needed = Config({name: cfg[name] for name in NEEDED if name in cfg}, cfg.file, dict(cfg.origins))
    options = {name: value for name, value in reading_options(cfg).items() if value is not None}
    test = {"dataset": options, "transforms": _transforms(cfg)}
    if is_foreign:
        check_foreign({**needed, "test": test}, cfg.file)
    check(needed)
    rows = (cfg.get("train") or {}).get("transforms") or []
    crops = [{"type": row["type"], "size": row["size"]} for row in rows if _is_crop(row)]
    return Config({**needed, "test": test, "train": {"transforms": crops}}, needed.file, needed.origins)


def _transforms(cfg: dict) -> list:
    """Rows of section `test`, else `val`; of several named sets those of the first."""
    section = cfg.get("test") or cfg.get("val") or {}
    if section and not {"dataset", "transforms"} & set(section):
        section = next(iter(section.values())) or {}
    return section.get("transforms") or []


def _is_crop(row: Any) -> bool:
    return isinstance(row, dict) and "Crop" in str(row.get("type")) and "size" in row


def section_of_test(cfg: dict) -> tuple[dict, str]:
    """Returns section `test` or, without it, `val`, and its config path; of several named test sets the first."""
    at = "test" if cfg.get("test") else "val"
    section = cfg.get(at) or {}
    if section and not {"dataset", "transforms"} & set(section):
        name, section = next(iter(section.items()))
        at = f"{at}.{name}"
    return section, at


def transforms_of_test(cfg: dict, *, needs_stored: bool) -> list:
    """Builds the transforms of section_of_test.

    Args:
        cfg: the sections.
        needs_stored: whether pixels must stay where they are stored.
    """
    section, at = section_of_test(cfg)
    return setup.build_eval_transforms(section.get("transforms", []), f"{at}.transforms", needs_stored=needs_stored)
