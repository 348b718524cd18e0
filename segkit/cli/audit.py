"""Ranks labels by the evidence against them: segkit audit CONFIG_OR_DATA [CHECKPOINT ...] --out page.html.

Judged by checkpoints, each image by those that were not trained on it (as segkit train --folds makes them), or by
predictions in files. Writes the page and, beside it, audit.json, which segkit annotate --from opens.
"""

import argparse
import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.config import Config
from segkit.files import DataError
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.audit.findings import Finding
    from segkit.audit.judges import Judge
    from segkit.audit.sets import Audit
    from segkit.data.dataset import Dataset
    from segkit.data.splits.near_duplicates import Pair
    from segkit.engine.setup import DataSets
    from segkit.viz.page.labels import LabelCard

SPLITS = ("train", "val", "test")
JSON = "audit.json"
"""Beside the page."""

COPIES = "Images that differ in few of the 64 bits of their hashes and whose thumbnails agree; equal: byte by byte."


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit audit`; returns the exit code."""
    arguments = common.parser("audit", __doc__ or "")
    arguments.add_argument(
        "data", metavar="CONFIG_OR_DATA", help=f"{common.CONFIG_HELP}, or a folder of labelled images"
    )
    arguments.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", help="that judge, such as those of all folds"
    )
    arguments.add_argument("--out", required=True, metavar="PAGE.html", help=f"the page; {JSON} goes beside it")
    arguments.add_argument(
        "--predictions",
        metavar="DIR",
        help="judge by files: ID.npz of segkit test --probabilities, or results.json of segkit test --predictions",
    )
    arguments.add_argument("--split", choices=SPLITS, default="train", help="section of the config; default train")
    arguments.add_argument("--least", type=int, metavar="PIXELS", help="smallest part of a label map; default 0.05 %%")
    arguments.add_argument("--most", type=int, default=200, metavar="N", help="findings with pictures; default 200")
    arguments.add_argument("--no-copies", action="store_true", help="do not look for duplicates and leaks")
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_audit, arguments.parse_intermixed_args(argv))


def _audit(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segkit.audit.sets import audit_set, common_folder
    from segkit.engine.setup import DataSets
    from segkit.files import need_writable, write_whole

    out = Path(args.out)
    _check(args, out)
    need_writable(out, "choose another --out")
    sets = DataSets()
    cfg = _sections(args)
    dataset = _dataset(cfg, args.split, sets)
    judge = _judge(args, dataset)
    with tqdm(total=len(dataset), unit="image", disable=None, leave=False) as bar:
        found = audit_set(dataset, judge, least=args.least, tick=bar.update)
    folder = common_folder(dataset)
    pairs, leaks = ([], []) if args.no_copies else _copies(cfg, args.split, dataset, sets)
    content = {
        "folder": folder.as_posix(),
        "findings": [_entry(finding, folder) for finding in found.findings],
        "images": [
            {"image": _relative(image.image, folder), "quality": round(image.quality, 4), "seen": image.seen}
            for image in found.images
        ],
        "duplicates": [_pair(pair, folder) for pair in pairs],
        "leaks": [{"section": section, **_pair(pair, folder)} for section, pair in leaks],
    }
    numbers = out.with_name(JSON)
    write_whole(numbers, json.dumps(content, indent=1) + "\n", "choose another --out")
    write_whole(
        out, _page(args, dataset, found, pairs, leaks, folder).encode("utf-8", "replace"), "choose another --out"
    )
    print("\n".join(_lines(found, len(pairs), len(leaks))))
    print(f"{out}\n{numbers}")
    return 0


def _check(args: argparse.Namespace, out: Path) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {args.out}: is a page; choose a name that ends in .html")
    if bool(args.checkpoints) == bool(args.predictions):
        raise ConfigError("segkit audit: labels are judged by predictions; give checkpoints, or --predictions DIR")
    if args.predictions and not Path(args.predictions).is_dir():
        raise DataError(f"--predictions {args.predictions}: no such folder; check the path")
    for name, value in (("least", args.least), ("most", args.most)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be 1 or more")


def _sections(args: argparse.Namespace) -> Config:
    """The config; of a folder one with the split alone, which reads its labels."""
    from segkit.schema import check

    if common.is_config(args.data):
        from segkit.config import load_config

        cfg = load_config(args.data, args.cfg_options)
    else:
        from segkit.recipe.recognise import recognised

        root, found = recognised(Path(args.data))
        kind = "LabelledInstances" if _finds_objects(args) else "Labelled"
        section: dict[str, Any] = {"type": kind, "root": str(root), "format": found.reader.format}
        if names := _names(args):
            section["classes"] = (
                [name for name in names if name != "background"] if kind == "LabelledInstances" else names
            )
        cfg = Config({args.split: {"dataset": section}}, args.data)
    check(cfg, needed=())
    return cfg


def _finds_objects(args: argparse.Namespace) -> bool:
    if args.predictions:
        from segkit.audit.judges import RESULTS

        return (Path(args.predictions) / RESULTS).is_file()
    from segkit.engine import checkpoint
    from segkit.runners.base import build_runner

    config = checkpoint.read_any(Path(args.checkpoints[0])).get("config") or {}
    return not build_runner({"runner": config["runner"]} if config.get("runner") else {}).predicts_maps


def _names(args: argparse.Namespace) -> list[str]:
    """The classes that the first checkpoint has learned."""
    if not args.checkpoints:
        return []
    from segkit.engine import checkpoint

    return [str(name) for name in checkpoint.read_any(Path(args.checkpoints[0])).get("classes") or ()]


def _dataset(cfg: Config, split: str, sets: "DataSets") -> "Dataset":
    """The data set of the split; objects come with their masks unless the config says otherwise."""
    from segkit.registry import DATASETS

    section, at = common.data_section(cfg, split)
    values = dict(section["dataset"])
    arguments = inspect.signature(DATASETS.get(values["type"], f"{at}.dataset.type")).parameters
    if "boxes_only" in arguments:
        values.setdefault("boxes_only", False)
    return sets.get(values, f"{at}.dataset")


def _judge(args: argparse.Namespace, dataset: "Dataset") -> "Judge":
    from segkit.audit.judges import FileJudge, NetworkJudge, Trained

    if args.predictions:
        return FileJudge(Path(args.predictions))
    from segkit import api
    from segkit.cli.seen import seen_by
    from segkit.engine.setup import pick_device

    device = pick_device(args.device)
    networks = []
    for path in args.checkpoints:
        model = api.load_model(None, path, device, trust=args.trust, predict_only=True)
        networks.append(Trained(path, model, seen_by(Path(path), print, trust=args.trust)))
    return NetworkJudge(networks, list(map(str, dataset.classes)))


def _copies(
    cfg: Config, split: str, dataset: "Dataset", sets: "DataSets"
) -> tuple[list["Pair"], list[tuple[str, "Pair"]]]:
    """Images of the split that look alike, and those of other sections that look like one of the split."""
    from segkit.data.splits.image_hash import LookBook
    from segkit.data.splits.near_duplicates import Pair, near_pairs
    from segkit.engine.preflight import scored_sections

    book = LookBook()
    looks = book.looks(dataset)
    pairs = [pair for pair in near_pairs(looks, looks) if pair.first < pair.second]
    sections = {**({"train": cfg["train"]} if cfg.get("train") else {}), **scored_sections(cfg)}
    leaks = []
    for at, section in sections.items():
        if at == split or at.startswith(f"{split}."):
            continue
        others = book.looks(sets.get(section["dataset"], f"{at}.dataset"))
        # one file in two sections is no pair for the search, and the plainest leak
        leaks += [(at, Pair(path, path, 0, 1.0, True)) for path in looks if path in others]
        leaks += [(at, pair) for pair in near_pairs(looks, others)]
    return pairs, leaks


def _relative(path: str, folder: Path) -> str:
    """The path below the folder of the images; as it is where it lies elsewhere."""
    whole = Path(path).absolute()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else whole.as_posix()


def _entry(finding: "Finding", folder: Path) -> dict[str, Any]:
    return {
        "image": _relative(finding.image, folder),
        "box": list(finding.box),
        "kind": finding.kind,
        "score": round(finding.score, 4),
        "class": finding.label,
        "predicted": finding.predicted,
        "seen": finding.seen,
    }


def _pair(pair: "Pair", folder: Path) -> dict[str, Any]:
    return {
        "first": _relative(pair.first, folder),
        "second": _relative(pair.second, folder),
        "distance": pair.distance,
        "equal": pair.is_equal,
    }


def _lines(found: "Audit", pairs: int, leaks: int) -> list[str]:
    counts = Counter(finding.kind for finding in found.findings)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common()) or "none"
    trained = sum(image.seen is True for image in found.images)
    lines = [f"{found.judged:,} images judged; places with evidence against the label: {kinds}"]
    if trained:
        lines.append(f"{trained:,} images were trained on by every checkpoint, which then agrees with their errors")
    return [*lines, f"{pairs:,} pairs of images look alike, {leaks:,} look like images of other sections"]


def _page(
    args: argparse.Namespace,
    dataset: "Dataset",
    found: "Audit",
    pairs: Sequence["Pair"],
    leaks: Sequence[tuple[str, "Pair"]],
    folder: Path,
) -> str:
    from segkit.audit.findings import KINDS
    from segkit.types import default_palette
    from segkit.viz.page.html import join, section
    from segkit.viz.page.labels import copies_section, findings_section, images_section
    from segkit.viz.page.sheet import document

    shown = found.findings[: args.most]
    cards = [_card(finding, pictures, folder) for finding, pictures in zip(shown, found.draw(shown))]
    classes = [str(name) for name in dataset.classes]
    palette = tuple(dataset.palette) or default_palette(len(classes))
    images = [(_relative(image.image, folder), image.quality, _trained(image.seen)) for image in found.images]
    alike = [(_relative(pair.first, folder), _relative(pair.second, folder), _how(pair)) for pair in pairs]
    across = [
        (_relative(pair.first, folder), f"{at}: {_relative(pair.second, folder)}", _how(pair)) for at, pair in leaks
    ]
    counts: Mapping[str, int] = Counter(finding.kind for finding in found.findings)
    sections = [
        ("labels", "Labels in doubt", findings_section(cards, KINDS, counts, classes, palette)),
        ("images", "Images", images_section(images)),
    ]
    if not args.no_copies:
        copies = [copies_section("Within the split", alike, COPIES), copies_section("Across sections", across, COPIES)]
        sections.append(("copies", "Copies", join(copies)))
    body = join([section(title, content, at=at) for at, title, content in sections])
    judges = ", ".join(args.checkpoints) or str(args.predictions)
    subtitle = f"{found.judged:,} images of {args.data}, {args.split}, judged by {judges}."
    if trained := sum(image.seen is True for image in found.images):
        subtitle += (
            f" {trained:,} images were trained on by every checkpoint, so that errors in them may be agreed with."
        )
    if unknown := sum(image.seen is None for image in found.images):
        subtitle += (
            f" Of {unknown:,} images it is not known whether the predictions come from a network trained on them."
        )
    return document("Audit of labels", subtitle, [(at, title) for at, title, _ in sections], body)


def _card(finding: "Finding", pictures: tuple, folder: Path) -> "LabelCard":
    from segkit.viz.page.labels import LabelCard

    words = [f"{finding.score:.2f}", f"labelled {finding.label or 'nothing'}", f"seen {finding.predicted or 'nothing'}"]
    if finding.label == finding.predicted:
        words = [words[0], str(finding.label)]
    words.append(f"box {', '.join(map(str, finding.box))}")
    words += [_trained(finding.seen)] if finding.seen else []
    return LabelCard(_relative(finding.image, folder), finding.kind, "; ".join(words), pictures)


def _trained(seen: bool | None) -> str:
    words = {True: "every checkpoint was trained on it", False: "", None: "not known whether trained on it"}
    return words[seen]


def _how(pair: "Pair") -> str:
    return "equal files" if pair.is_equal else f"{pair.distance} of 64 bits differ"
