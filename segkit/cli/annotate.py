"""Labels images in the browser: segkit annotate FOLDER [--model CHECKPOINT] [--classes road,car] [--out DIR].

Serves a page on this machine alone, and prints its address. Click masks with a model's help, or draw them by brush and
polygon. Every edit is on the disk when the page says "Saved"; DIR gets masks (PNG), objects.json (COCO) and a log.
"""

import argparse
import contextlib
import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.annotate.app import Desk
    from segkit.annotate.assistant import Assistant
    from segkit.annotate.existing import Existing
    from segkit.annotate.project import Project
    from segkit.runners.input_images import Inputs
    from segkit.types import Color

KINDS = ("semantic", "instances", "clicks")
WILDCARDS = ("0.0.0.0", "::", "")
MASKS = "masks"
"""Folder beside a folder `images` whose label maps are opened."""

SHUTDOWN = 30
"""Seconds that requests under way have to end."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit annotate`; returns the exit code."""
    arguments = common.parser("annotate", __doc__ or "")
    arguments.add_argument("folder", metavar="FOLDER", help="the images; all below it that segkit reads")
    arguments.add_argument(
        "--model", metavar="CHECKPOINT", help="a click model that helps; default: none, a drawing tool"
    )
    arguments.add_argument(
        "--classes", metavar="A,B,C", help="names of the classes; default: those of DIR, or 'object'"
    )
    arguments.add_argument(
        "--config", metavar="FILE", help="takes the classes and colors of this config's training data"
    )
    arguments.add_argument("--out", metavar="DIR", help="takes the results; default: FOLDER_annotated, beside FOLDER")
    arguments.add_argument(
        "--kind",
        choices=KINDS,
        help="a class for each pixel, objects with classes, or objects to click on; default: that of DIR, or semantic "
        "where classes are named, else clicks",
    )
    arguments.add_argument(
        "--masks",
        metavar="PATH",
        help="masks to correct: label maps named as the images, or a file in COCO's format; default: the folder masks "
        "beside a folder images",
    )
    arguments.add_argument(
        "--review", metavar="DRAFTS", help="drafts to accept, reject or correct, as --masks; least certain images first"
    )
    arguments.add_argument(
        "--from",
        dest="findings",
        metavar="audit.json",
        help="shows the images of these findings alone, at their places",
    )
    arguments.add_argument("--port", type=int, default=0, help="default: that of the last start, or a free one")
    arguments.add_argument("--host", default="127.0.0.1", help="address to listen at; default 127.0.0.1, this machine")
    arguments.add_argument("--no-open", action="store_true", help="prints the address alone, and opens no browser")
    common.add_options(arguments)
    common.add_device(arguments)
    common.add_trust(arguments)
    return common.run(_annotate, arguments.parse_args(argv))


def _annotate(args: argparse.Namespace) -> int:
    if not 0 <= args.port <= 65535:
        raise ConfigError(f"--port {args.port}: must be from 0 to 65535")
    if args.classes is not None and args.config is not None:
        raise ConfigError("--classes and --config: give one of them")
    if args.masks is not None and args.review is not None:
        raise ConfigError("--masks and --review: give one of them")
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError('segkit annotate: needs starlette and uvicorn; run: pip install "segkit[web]"') from error
    from segkit.engine.folder import held, made

    project = _project(args)
    new = [folder for folder in (project.out, *project.out.parents) if not folder.exists()]
    made(project.out)
    try:
        with held(project.out, resumes=True, option="--out", work="annotating"):
            desk = _desk(args, project)
            project.save()
            desk.outputs.start()
            _serve(args, desk)
    except BaseException:
        for folder in new:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
    print(f"{project.out}: {len(desk.outputs)} images")
    return 0


def _project(args: argparse.Namespace) -> "Project":
    from segkit.annotate.project import check_classes, open_project

    folder = Path(args.folder).expanduser()
    out = Path(args.out).expanduser() if args.out else folder.resolve().with_name(f"{folder.resolve().name}_annotated")
    names: tuple[str, ...] | None = None
    palette: tuple[Color, ...] | None = None
    if args.classes is not None:
        names = check_classes(args.classes.split(","), f"--classes {args.classes}")
    if args.config is not None:
        names, palette = _of_config(args.config)
        names = check_classes(names, f"--config {args.config}")
    return open_project(folder, out, args.kind, names, palette)


def _of_config(path: str) -> "tuple[tuple[str, ...], tuple[Color, ...] | None]":
    """Names and colors of the classes of a config's training data."""
    from segkit.engine.setup import build_dataset

    cfg = common.load_checked(path, [])
    section, at = common.data_section(cfg, "train" if cfg.get("train") else "test")
    dataset = build_dataset(section["dataset"], f"{at}.dataset")
    names = tuple(dataset.classes or ())
    if not names:
        raise ConfigError(f"--config {path}: its data set names no classes; give --classes")
    return names, tuple(dataset.palette) if dataset.palette else None


def _desk(args: argparse.Namespace, project: "Project") -> "Desk":
    from segkit.annotate.app import Desk
    from segkit.annotate.outputs import Outputs
    from segkit.annotate.project import find_images, findings_of
    from segkit.annotate.workspace import Workspace

    everything = entries = find_images(project.folder, project.out)
    if args.findings is not None:
        entries = findings_of(Path(args.findings), entries)
    existing = _existing(args, project)
    if args.review is not None and existing is not None:
        scores = existing.scores
        entries = sorted(
            (entry for entry in entries if existing.has(entry)), key=lambda entry: scores.get(entry.name, 2.0)
        )
        if not entries:
            raise ConfigError(f"--review {args.review}: none of its drafts is of an image in {project.folder}")
    inputs, assistant = _model(args)
    workspace = Workspace(project, entries, inputs, assistant, existing)
    return Desk(workspace, Outputs(project, everything, workspace.for_outputs))


def _existing(args: argparse.Namespace, project: "Project") -> "Existing | None":
    from segkit.annotate.existing import existing_masks

    if args.review is not None:
        return existing_masks(Path(args.review).expanduser(), "draft", project)
    if args.masks is not None:
        return existing_masks(Path(args.masks).expanduser(), "file", project)
    beside = project.folder.resolve().with_name(MASKS)
    is_images = project.folder.resolve().name == "images"
    return existing_masks(beside, "file", project) if is_images and beside.is_dir() else None


def _model(args: argparse.Namespace) -> "tuple[Inputs, Assistant | None]":
    from segkit.data.dataset import Reading
    from segkit.runners.input_images import Inputs

    if args.model is None:
        return Inputs(3, True, Reading(exif=True)), None
    from segkit.annotate.assistant import Assistant
    from segkit.api import click_predictor, load_model
    from segkit.engine.setup import pick_device
    from segkit.runners.inputs import inputs_of

    device = pick_device(args.device)
    model = load_model(None, args.model, device, args.cfg_options, trust=args.trust, predict_only=True)
    return inputs_of(model, exif=True), Assistant(click_predictor(model), Path(args.model).name)


def _serve(args: argparse.Namespace, desk: "Desk") -> None:
    """Listens until it is stopped."""
    import uvicorn

    from segkit.annotate.app import build_app
    from segkit.annotate.gate import Address, keep_address, last_address

    is_local = args.host == "localhost" or _is_loopback(args.host)
    folder = desk.workspace.project.out
    token, port = last_address(folder)
    listener = _listener(args.host, args.port, port)
    port = listener.getsockname()[1]
    name = f"[{args.host}]" if ":" in args.host else args.host
    names = {name, "127.0.0.1", "localhost"} if is_local else {name}
    hosts = [] if args.host in WILDCARDS else sorted(f"{one}:{port}" for one in names)
    keep_address(folder, Address(token, port))
    address = f"http://{'127.0.0.1' if args.host in WILDCARDS else name}:{port}/{token}/"
    if not is_local:
        print(
            f"warning: who reaches {args.host} and knows the address can read the images and change the masks; it is "
            "sent unencrypted",
            file=sys.stderr,
        )
    config = uvicorn.Config(
        build_app(desk, token, hosts=hosts),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN,
    )
    count = len(desk.workspace.entries)
    print(f"{count} images; results go to {desk.workspace.project.out}\n{address} (Ctrl-C stops it)", flush=True)
    if not args.no_open and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int, last: int) -> socket.socket:
    """Listens at a port; where it is 0, at that of the last start, or else at a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not port and last:
        with contextlib.suppress(OSError):
            return socket.create_server((host, last), family=family)
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); choose another --port"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _has_screen() -> bool:
    """Whether a browser has a screen to open on; a browser of the terminal would take it."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
