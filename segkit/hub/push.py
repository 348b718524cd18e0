"""Publishes a model on the Hugging Face hub: a folder of data, without code or pickle, and its upload."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit import __version__
from segkit.api import load_model, predict
from segkit.config import plain_values
from segkit.convert.hub import FORMAT, LIBRARY, PREFIX, is_hub_name
from segkit.data.dataset import Dataset
from segkit.engine import checkpoint, setup
from segkit.engine.checkpoint import CheckpointError
from segkit.files import DataError, write_whole
from segkit.hub.card import CardInput, card
from segkit.hub.facts import base_of, facts_of, without_places
from segkit.hub.licences import licence_of
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner, build_runner
from segkit.runners.instances.runner import BoxSupervised
from segkit.runners.interactive.runner import Interactive
from segkit.runners.multi_label import MultiLabel
from segkit.runtime.clicks import click_graphs, is_click_graph
from segkit.runtime.session import is_graph
from segkit.schema import check_foreign
from segkit.types import default_palette
from segkit.viz import draw

PICTURE = "picture.png"


@dataclass(frozen=True)
class Publication:
    """What is published, and how.

    Attributes:
        checkpoint: of segkit.
        name: "hf:OWNER/NAME".
        licence: of the weights, as the hub names licences ("apache-2.0", "cc-by-nc-4.0", "other").
        dataset: name of the data set for the card; "" for that of the config.
        scores, per_image: see facts.facts_of.
        graph: an exported graph to put beside, None for none.
        has_picture: whether an image of the validation set is shown with its prediction.
    """

    checkpoint: Path
    name: str
    licence: str
    dataset: str = ""
    scores: Path | None = None
    per_image: Path | None = None
    graph: Path | None = None
    has_picture: bool = True


def repository_of(name: str) -> str:
    """Returns OWNER/NAME of "hf:OWNER/NAME"; ConfigError for anything else."""
    repository = name.removeprefix(PREFIX)
    parts = repository.split("/")
    allowed = all(part and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts)
    if not is_hub_name(name) or len(parts) != 2 or not allowed or not repository.isascii():
        raise ConfigError(f"{name}: is no name on the hub; write hf:OWNER/NAME")
    return repository


def write_folder(given: Publication, folder: Path, say: Callable[[str], None] = print) -> None:
    """Writes model.safetensors, config.json, README.md, a picture, and the exported graph where one is given.

    Args:
        given: what is published.
        folder: is made; files of these names in it are replaced.
        say: takes notes for the user.

    Raises:
        ConfigError: the checkpoint names code of its own, no licence is given, or the graph is none.
        CheckpointError, DataError: a file cannot be read.
    """
    repository = repository_of(given.name)
    content = _own_checkpoint(given.checkpoint)
    config = without_places(plain_values(content["config"]))
    base = base_of(config)
    if not given.licence:
        known = licence_of(base) if base else None
        hint = f"the training began with {base}, {known or 'whose licence segkit does not know'}" if base else ""
        raise ConfigError(
            "--license: state the licence of these weights, such as apache-2.0, cc-by-nc-4.0 or other"
            + (f"; {hint}" if hint else "")
        )
    graph = _graph(given.graph)
    model = load_model(None, given.checkpoint)
    entries = {
        "model": checkpoint.scored_weights(content),
        "config": config,
        "classes": content.get("classes"),
        "palette": content.get("palette"),
        "segkit_version": content.get("segkit_version") or __version__,
    }
    texts = {key: value for key, value in entries.items() if key != "model" and value is not None}
    described = {"library_name": LIBRARY, "format": FORMAT, **texts}
    facts = facts_of({**content, "config": config}, given.checkpoint, given.scores, given.per_image)
    picture = _picture(model, content["config"], say) if given.has_picture else None
    checkpoint.save(folder / "model.safetensors", {"model": entries["model"], **texts})
    write_whole(folder / "config.json", json.dumps(described, indent=2))
    if picture is not None:
        draw.save_png(folder / PICTURE, picture)
        say("note: README.md shows an image of the validation set; --no-picture leaves it out")
    for file in graph:
        shutil.copyfile(file, folder / file.name)
    text = card(
        CardInput(
            name=repository,
            licence=given.licence,
            config=config,
            classes=content.get("classes") or (),
            facts=facts,
            dataset=given.dataset,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            use=_use(build_runner(content["config"])),
            picture="" if picture is None else PICTURE,
            graph=graph[0].name if graph else "",
            version=str(entries["segkit_version"]),
        )
    )
    write_whole(folder / "README.md", text)


def _use(runner: Runner) -> list[str]:
    """Lines of Python that predict an image with a model of the runner's kind."""
    if isinstance(runner, Interactive):
        return [
            "clicks = segkit.click_predictor(model)",
            "clicks.set_image(image)  # uint8 [H,W,3], RGB",
            "mask = clicks.click(120, 80)  # row and column on the object",
        ]
    if isinstance(runner, BoxSupervised):
        return ['found = segkit.predict(model, "image.jpg")  # masks as COCO run lengths, scores, labels, boxes']
    if isinstance(runner, MultiLabel):
        return ['masks = segkit.predict(model, "image.jpg")["positive"]  # [classes,H,W]']
    return ['labels = segkit.predict(model, "image.jpg")["labels"]']


def _own_checkpoint(path: Path) -> dict[str, Any]:
    content = checkpoint.read(path)
    if not content.get("config") or "source" in content or "segkit_version" not in content:
        raise CheckpointError(
            f"{path}: is no checkpoint of segkit with its config, so that nobody could load it by its name; convert it "
            "first (segkit convert)"
        )
    try:
        check_foreign(content["config"], str(path))
    except ConfigError as error:
        raise ConfigError(
            f"{str(error).partition('; allow it')[0]}; what is published holds no code, so nobody could load it: make "
            "the class a part of segkit, or publish your code and the checkpoint by yourself"
        ) from error
    return content


def _graph(path: Path | None) -> list[Path]:
    """The files of an exported graph: itself, a click model's other one, and the weights of OpenVINO beside them."""
    if path is None:
        return []
    graphs = click_graphs(path) if is_click_graph(path) else [path]
    for graph in graphs:
        if not is_graph(graph) or not graph.is_file():
            raise ConfigError(
                f"--graph {graph}: is no exported graph; name what `segkit export` has written (.onnx, .xml)"
            )
    beside = [graph.with_suffix(".bin") if path.suffix == ".xml" else Path(f"{graph}.data") for graph in graphs]
    return [*graphs, *(file for file in beside if file.is_file())]


def _picture(model: Network, config: dict[str, Any], say: Callable[[str], None]) -> np.ndarray | None:
    """The first validation image beside its truth and prediction; None where the data are not at hand."""
    section = config.get("val") or {}
    try:
        return _drawn(model, setup.DataSets().get(section["dataset"], "val.dataset"))
    except (ConfigError, DataError, OSError, KeyError, NotImplementedError, ValueError) as error:
        say(f"note: no picture ({error}); README.md goes without it")
        return None


def _drawn(model: Network, dataset: Dataset) -> np.ndarray:
    image = dataset.image(0)
    palette = tuple(dataset.palette) or default_palette(256)
    found = predict(model, image)
    if "labels" not in found or "masks" in found:
        runner = build_runner(model.config)
        with tempfile.TemporaryDirectory() as folder:
            runner.writer(Path(folder), tuple(dataset.classes), palette).add(Path("a"), "a", image, found)
            (written,) = Path(folder).rglob("overlays/a.png")
            from segkit.data.files.images import read_image

            drawn = read_image(written)
        return draw.grid([[draw.to_rgb(image), drawn]], ["image", "prediction"])
    masks = [np.asarray(dataset.mask(0)), np.asarray(found["labels"])]  # type: ignore[typeddict-item]
    row = [draw.to_rgb(image), *(draw.overlay(draw.to_rgb(image), mask, palette) for mask in masks)]
    return draw.grid([row], ["image", "truth", "prediction"], classes=dataset.classes, palette=palette)


def upload(folder: Path, name: str, *, private: bool, update: bool) -> str:
    """Makes a repository and uploads a folder.

    Args:
        folder: of write_folder.
        name: "hf:OWNER/NAME".
        private: whether the repository is seen by its owner alone.
        update: whether a repository of this name gets the files as a new version.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: the package, the token, the right or the network is missing, or the name is taken.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(f'{name}: needs the package huggingface_hub; run: pip install "segkit[hub]"') from error
    repository = repository_of(name)
    if not huggingface_hub.get_token():
        raise ConfigError(f"{name}: there is no token on this machine; run `hf auth login`, or set HF_TOKEN")
    api = huggingface_hub.HfApi(library_name=LIBRARY, library_version=__version__)
    try:
        api.create_repo(repository, private=private, exist_ok=update)
        message = f"Model of segkit {__version__}"
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except errors.HfHubHTTPError as error:
        raise ConfigError(f"{name}: {_reason(error)}") from error
    except errors.HFValidationError as error:
        raise ConfigError(f"{name}: is no name on the hub; write hf:OWNER/NAME") from error
    except OSError as error:
        raise ConfigError(
            f"{name}: the hub cannot be reached ({type(error).__name__}); connect to the network"
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise
        raise ConfigError(
            f"{name}: the hub cannot be reached ({type(error).__name__}); connect to the network"
        ) from error
    return f"{api.endpoint}/{repository}"


def _reason(error: Any) -> str:
    """What an answer of the hub means."""
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return "the hub does not accept the token of this machine; run `hf auth login` again"
    if status == 403:
        return "the token may not write there; make one with the right to write, and name a repository of your own"
    if status == 409:
        return "the repository exists; add --update to write a new version of it, or choose another name"
    return (
        f"the hub refused ({status}: {getattr(error, 'server_message', None) or 'without a reason'}); try again later"
    )
