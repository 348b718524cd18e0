"""What judges labels: trained networks, or predictions that lie in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from segkit.audit.objects import Objects
from segkit.data.dataset import Dataset
from segkit.data.files.coco_json import to_rle
from segkit.data.files.pseudo_manifest import image_key
from segkit.engine.pictures import file_name
from segkit.files import DataError, parse_json, read_text
from segkit.models.bases import Network
from segkit.readers.probabilities import read_probabilities
from segkit.registry import ConfigError
from segkit.runners.base import Runner
from segkit.runners.ensemble import check_classes, runner_of
from segkit.runners.predicting import predict_arrays

RESULTS = "results.json"
"""File of the objects that `segkit test --predictions` writes."""


class Judge(Protocol):
    """Predicts the images of a data set."""

    def maps(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[np.ndarray, bool | None]:
        """Returns probabilities, float32 [K,H,W], and whether a network was trained on the image (None: not known)."""

    def objects(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[Objects, bool | None]:
        """Returns the objects that are found in an image, and whether a network was trained on it."""


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        file: its checkpoint.
        model: in evaluation mode.
        seen: keys of the images that it was trained on, None where that is not known.
    """

    file: str
    model: Network
    seen: set[str] | None


class NetworkJudge:
    """Judges each image by the networks that were not trained on it; by all where each of them was.

    Args:
        networks: of equal classes.
        classes: of the data set.

    Raises:
        ConfigError: the classes differ.
    """

    def __init__(self, networks: Sequence[Trained], classes: Sequence[str]):
        self.networks = list(networks)
        check_classes([trained.model for trained in networks], [trained.file for trained in networks])
        names = networks[0].model.classes
        if names is not None and list(names) != list(classes):
            raise ConfigError(
                f"{networks[0].file}: has the classes {_some(names)}, and the data {_some(classes)}; labels are judged "
                "by networks of the same classes in the same order"
            )
        self.runners = [runner_of(trained.model) for trained in networks]

    def _chosen(self, path: str) -> tuple[list[tuple[Network, Runner]], bool | None]:
        key = image_key(path)
        pairs = list(zip(self.networks, self.runners))
        unseen = [pair for pair in pairs if pair[0].seen is not None and key not in pair[0].seen]
        if unseen:
            return [(trained.model, runner) for trained, runner in unseen], False
        unknown = [pair for pair in pairs if pair[0].seen is None]
        return [(trained.model, runner) for trained, runner in unknown or pairs], None if unknown else True

    def maps(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[np.ndarray, bool | None]:
        """Returns the mean of the networks' probabilities; see Judge."""
        chosen, seen = self._chosen(dataset.path(index))
        total: np.ndarray | None = None
        for model, runner in chosen:
            if not runner.predicts_maps:
                raise ConfigError(
                    f"the runner {type(runner).__name__} predicts no probabilities of classes at each pixel, by which "
                    "label maps are judged; give a checkpoint of runner 'Semantic'"
                )
            runner.keep_probabilities()
            values = cast(Any, predict_arrays(model, [image], runner)[0])["probabilities"]
            values = values.astype(np.float32)
            if len(values) == 1 and len(dataset.classes) == 2:
                values = np.concatenate([1 - values, values])
            total = values if total is None else total + values
        assert total is not None
        return total / len(chosen), seen

    def objects(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[Objects, bool | None]:
        """Returns the objects that the first of the networks finds; see Judge."""
        chosen, seen = self._chosen(dataset.path(index))
        model, runner = chosen[0]
        found = cast(Any, predict_arrays(model, [image], runner)[0])
        if "boxes" not in found:
            raise ConfigError(
                f"the runner {type(runner).__name__} finds no objects, by which labels of objects are judged; give a "
                "checkpoint of a network of instances"
            )
        count = len(found["scores"])
        boxes = np.asarray(found["boxes"], np.float64).reshape(-1, 4)
        labels = np.asarray(found["labels"], np.int64)
        return Objects(boxes, labels, found["masks"], np.asarray(found["scores"]), np.zeros(count, bool)), seen


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


class FileJudge:
    """Takes predictions from a folder, which `segkit test` or another program has written.

    Args:
        folder: ID.npz or ID.npy of each image for label maps; results.json for objects.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._results: dict[str, list[Mapping[str, Any]]] | None = None

    def maps(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[np.ndarray, bool | None]:
        """Reads the probabilities of an image; see Judge."""
        name, stem = file_name(dataset.ids[index]), Path(dataset.path(index)).stem
        tried = [self.folder / f"{part}{end}" for part in dict.fromkeys((name, stem)) for end in (".npz", ".npy")]
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            raise DataError(
                f"{tried[0]}: no such file for {dataset.path(index)}; write probabilities of this data set with "
                "segkit test CHECKPOINT --probabilities DIR"
            )
        return read_probabilities(path, (len(dataset.classes), *image.shape[:2])), None

    def objects(self, dataset: Dataset, index: int, image: np.ndarray) -> tuple[Objects, bool | None]:
        """Reads the objects of an image; see Judge."""
        if self._results is None:
            self._results = self._read()
        height, width = image.shape[:2]
        entries = self._results.get(str(dataset.ids[index])) or self._results.get(file_name(dataset.ids[index])) or []
        found = [_entry(entry, (height, width), len(dataset.classes), self.folder / RESULTS) for entry in entries]
        boxes = np.array([box for box, _, _, _ in found], np.float64).reshape(-1, 4)
        masks = None if any(mask is None for _, _, _, mask in found) else [mask for _, _, _, mask in found]
        labels = np.array([label for _, label, _, _ in found], np.int64)
        scores = np.array([score for _, _, score, _ in found], np.float64)
        return Objects(boxes, labels, cast(Any, masks), scores, np.zeros(len(found), bool)), None

    def _read(self) -> dict[str, list[Mapping[str, Any]]]:
        path = self.folder / RESULTS
        content = parse_json(read_text(path), path)
        if not isinstance(content, list) or not all(
            isinstance(entry, dict) and "image_id" in entry for entry in content
        ):
            raise DataError(
                f"{path}: must be a list of objects with image_id, as segkit test --predictions DIR writes it"
            )
        results: dict[str, list[Mapping[str, Any]]] = {}
        for entry in content:
            results.setdefault(str(entry["image_id"]), []).append(entry)
        return results


def _entry(
    entry: Mapping[str, Any], size: tuple[int, int], num_classes: int, path: Path
) -> tuple[list[float], int, float, dict | None]:
    """Box, label, score and mask of an entry of results.json."""
    at = f"{path}, image {entry['image_id']}"
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
        label, score = int(entry["category_id"]) - 1, float(entry["score"])
        mask = None if entry.get("segmentation") is None else to_rle(entry["segmentation"], *size)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise DataError(
            f"{at}: an object needs bbox, category_id and score ({type(error).__name__}: {error})"
        ) from error
    if not 0 <= label < num_classes or not 0 <= score <= 1:
        raise DataError(
            f"{at}: category_id {label + 1} with score {score:g}; classes are numbered 1 to {num_classes} in the "
            "order of the data set, and scores lie in 0..1: write the results without --annotations"
        )
    return [x, y, x + width, y + height], label, score, mask
