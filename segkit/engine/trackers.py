"""Hooks that send a training to MLflow, Weights & Biases or Trackio: config, losses, scores, pictures.

They observe: whatever fails in them is one warning, and the training goes on. A resumed training goes on with the same
run, whose id is kept beside its checkpoints.
"""

import importlib
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit import dist
from segkit.config import plain_values
from segkit.engine.hooks import Hook
from segkit.engine.notify import observing
from segkit.files import parse_json, read_text, write_whole
from segkit.registry import HOOKS, ConfigError

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

MOST_BYTES = 1 << 16
"""Of the file that keeps the id of a run."""

MOST_PARAMS = 100
"""Values of a config that MLflow takes at once."""

MOST_TEXT = 500
"""Letters of a value of the config."""


class Tracker(Hook):
    """Base of trackers: a subclass names its package and gives open, log, draw and close.

    Attributes:
        package: that must be installed.
        extra: of segkit that installs it.
    """

    is_observer = True
    package: str
    extra: str

    def __init__(self) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"hooks: {type(self).__name__} needs the package {self.package}, which is not installed: "
                f"pip install 'segkit[{self.extra}]', or take the hook out"
            )
        self._is_open = False

    def open(self, name: str, run: str | None, config: dict[str, str], folder: Path) -> str:
        """Begins a run, or goes on with one.

        Args:
            name: of the run where the hook's arguments give none.
            run: id of the run to go on with, None for a new one.
            config: values of the config by their path.
            folder: of the stage.

        Returns:
            The run's id.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no open()")

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Logs numbers by name ("train/loss", "val/mIoU")."""
        raise NotImplementedError(f"{type(self).__name__} gives no log()")

    def draw(self, name: str, picture: np.ndarray, step: int) -> None:
        """Logs a picture, uint8 [H,W,3]."""
        raise NotImplementedError(f"{type(self).__name__} gives no draw()")

    def close(self, *, is_finished: bool) -> None:
        """Ends the run, which may be gone on with where it is not finished."""
        raise NotImplementedError(f"{type(self).__name__} gives no close()")

    def before_stage(self, loop: "Loop") -> None:
        if not dist.is_main():
            return
        kept = loop.folder / f".{self.extra}.json"
        is_resumed = loop.step > 0 and kept.is_file()
        run = str(parse_json(read_text(kept, most=MOST_BYTES), kept)["run"]) if is_resumed else None
        name = "/".join(filter(None, (loop.work_dir.resolve().name, loop.stage.name)))
        config = {key: value[:MOST_TEXT] for key, value in flat_config(plain_values(loop.stage_cfg)).items()}
        run = self.open(name, run, config, loop.folder)
        self._is_open = True
        write_whole(kept, json.dumps({"run": run}))

    def after_log(self, loop: "Loop", prefix: str, scalars: dict[str, float]) -> None:
        if self._is_open:
            self.log({f"{prefix}/{name}": float(value) for name, value in scalars.items()}, loop.step)

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        if self._is_open and loop.monitor is not None and loop.best is not None:
            self.log({f"best/{loop.monitor.name}": loop.best}, loop.step)

    def after_picture(self, loop: "Loop", name: str, picture: np.ndarray) -> None:
        if self._is_open:
            self.draw(name, picture, loop.step)

    def after_stage(self, loop: "Loop") -> None:
        self._end(is_finished=True)

    def after_break(self, loop: "Loop", error: BaseException | None) -> None:
        with observing(self):
            self._end(is_finished=False)

    def _end(self, *, is_finished: bool) -> None:
        if self._is_open:
            self._is_open = False
            self.close(is_finished=is_finished)


@HOOKS.register
class MLflow(Tracker):
    """Logs to MLflow.

    Args:
        experiment: that the run belongs to, made where there is none.
        name: of the run; the work folder's by default.
        uri: of the server, or of a file such as "sqlite:///mlflow.db"; MLFLOW_TRACKING_URI by default.
        pictures: whether pictures of the validation are logged.
    """

    package, extra = "mlflow", "mlflow"

    def __init__(
        self, experiment: str = "segkit", name: str | None = None, uri: str | None = None, *, pictures: bool = True
    ):
        super().__init__()
        self.experiment, self.name, self.uri, self.pictures = experiment, name, uri, pictures
        self._client: Any = None
        self._run = ""

    def open(self, name: str, run: str | None, config: dict[str, str], folder: Path) -> str:
        """See Tracker."""
        entities = importlib.import_module("mlflow.entities")
        self._client = importlib.import_module("mlflow").MlflowClient(self.uri)
        if run is not None:
            self._client.update_run(run, status="RUNNING")
            self._run = run
            return run
        found = self._client.get_experiment_by_name(self.experiment)
        number = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        self._run = str(self._client.create_run(number, run_name=self.name or name).info.run_id)
        params = [entities.Param(_allowed(key), value) for key, value in config.items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])
        return self._run

    def log(self, scalars: dict[str, float], step: int) -> None:
        """See Tracker."""
        entities, now = importlib.import_module("mlflow.entities"), int(1000 * time.time())
        metrics = [entities.Metric(_allowed(name), value, now, step) for name, value in scalars.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def draw(self, name: str, picture: np.ndarray, step: int) -> None:
        """See Tracker."""
        if self.pictures:
            self._client.log_image(self._run, picture, artifact_file=f"pictures/{name}_{step:07d}.png")

    def close(self, *, is_finished: bool) -> None:
        """See Tracker."""
        self._client.set_terminated(self._run, status="FINISHED" if is_finished else "KILLED")


@HOOKS.register
class WandB(Tracker):
    """Logs to Weights & Biases.

    Args:
        project: that the run belongs to.
        name: of the run; the work folder's by default.
        entity: user or team; that of the login by default.
        offline: whether the run stays in the work folder, from where `wandb sync` sends it.
        pictures: whether pictures of the validation are logged.
    """

    package, extra = "wandb", "wandb"

    def __init__(
        self,
        project: str = "segkit",
        name: str | None = None,
        entity: str | None = None,
        *,
        offline: bool = False,
        pictures: bool = True,
    ):
        super().__init__()
        self.project, self.name, self.entity = project, name, entity
        self.offline, self.pictures = offline, pictures
        self._run: Any = None

    def open(self, name: str, run: str | None, config: dict[str, str], folder: Path) -> str:
        """See Tracker."""
        self._run = importlib.import_module("wandb").init(
            project=self.project,
            name=self.name or name,
            entity=self.entity,
            id=run,
            resume="allow" if run else None,
            config=config,
            dir=str(folder),
            mode="offline" if self.offline else None,
        )
        # by a step of its own, since a resumed run logs again what came after its checkpoint
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def log(self, scalars: dict[str, float], step: int) -> None:
        """See Tracker."""
        self._run.log({**scalars, "step": step})

    def draw(self, name: str, picture: np.ndarray, step: int) -> None:
        """See Tracker."""
        if self.pictures:
            self._run.log({name: importlib.import_module("wandb").Image(picture), "step": step})

    def close(self, *, is_finished: bool) -> None:
        """See Tracker."""
        self._run.finish(exit_code=0 if is_finished else 1)


@HOOKS.register
class Trackio(Tracker):
    """Logs to Trackio: a local dashboard (`trackio show`), or a space of the Hugging Face hub.

    Args:
        project: that the run belongs to.
        name: of the run; the work folder's by default.
        space: id of the space that shows it ("user/space"); None keeps it on this machine.
        pictures: whether pictures of the validation are logged.
    """

    package, extra = "trackio", "trackio"

    def __init__(
        self, project: str = "segkit", name: str | None = None, space: str | None = None, *, pictures: bool = True
    ):
        super().__init__()
        self.project, self.name, self.space, self.pictures = project, name, space, pictures
        self._run: Any = None

    def open(self, name: str, run: str | None, config: dict[str, str], folder: Path) -> str:
        """See Tracker."""
        # a run is gone on with by its name; a new one gets a name that no other has
        chosen = run or f"{self.name or name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        self._run = importlib.import_module("trackio").init(
            project=self.project,
            name=chosen,
            space_id=self.space,
            config=config,
            resume="allow" if run else "never",
            embed=False,
        )
        return chosen

    def log(self, scalars: dict[str, float], step: int) -> None:
        """See Tracker."""
        self._run.log(scalars, step=step)

    def draw(self, name: str, picture: np.ndarray, step: int) -> None:
        """See Tracker."""
        if self.pictures:
            self._run.log({name: importlib.import_module("trackio").Image(picture)}, step=step)

    def close(self, *, is_finished: bool) -> None:
        """See Tracker."""
        self._run.finish()


def flat_config(value: Any, at: str = "") -> dict[str, str]:
    """Returns the values of a config as text by their path: {"optimizer.lr": "0.01", "losses.0.type": "Dice"}."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(inner, dict | list | tuple) for inner in value):
        pairs = list(enumerate(value))
    if not pairs:
        return {at: str(value)}
    flat: dict[str, str] = {}
    for key, inner in pairs:
        flat |= flat_config(inner, f"{at}.{key}" if at else str(key))
    return flat


def _allowed(name: str) -> str:
    """A name with the letters that MLflow takes."""
    return re.sub(r"[^\w\-. /:]", "_", name)
