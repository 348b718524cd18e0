"""A task on a data set: which classes are learned when, and what a label means in each step. K classes of the task."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.incremental.orders import ALIASES, TASKS, Steps
from segkit.registry import ConfigError, did_you_mean
from segkit.types import IGNORE, default_palette

BACKGROUND = "background"
PARTS = ("train", "val", "test")
SETTINGS = ("disjoint", "overlapped", "sequential", "balanced")
CONVENTIONS = ("official", "csseg")
MOST_CLASSES = 255


@dataclass(frozen=True)
class ClassPlan:
    """The classes of a data set, ordered by the step that learns them.

    names: of all classes by number, the background's first; steps: numbers of the classes that each step learns,
    without the background, which belongs to step 0; palette: by number. background: the index of the background in
    the data set, whose other classes follow in order; None: the data set has none, number 0 is what it ignores, and
    its class k has number k + 1.
    """

    names: tuple[str, ...]
    steps: Steps
    palette: tuple[tuple[int, int, int], ...]
    background: int | None = 0

    def order(self, step: int) -> tuple[int, ...]:
        """-> the numbers of the model's outputs in this step: 0 and the classes of all steps so far."""
        return (0, *(number for classes in self.steps[: step + 1] for number in classes))

    def sizes(self, step: int) -> tuple[int, ...]:
        """-> outputs that each step so far adds; those of step 0 count the background."""
        return tuple(len(classes) + (i == 0) for i, classes in enumerate(self.steps[: step + 1]))

    def old(self, step: int) -> tuple[int, ...]:
        """-> numbers of the classes learned before this step, without the background."""
        return tuple(number for classes in self.steps[:step] for number in classes)

    def later(self, step: int) -> tuple[int, ...]:
        """-> numbers of the classes that this step does not know yet."""
        return tuple(number for classes in self.steps[step + 1 :] for number in classes)

    def classes(self, step: int) -> tuple[str, ...]:
        """-> the names of the model's outputs in this step."""
        return tuple(self.names[number] for number in self.order(step))

    def colors(self, step: int) -> tuple[tuple[int, int, int], ...]:
        """-> their colors."""
        return tuple(self.palette[number] for number in self.order(step))

    def numbers(self) -> np.ndarray:
        """-> uint8 [256]: the number of each label of the data set, 255 for what it ignores. Without a background of
        its own what the data set ignores is number 0."""
        table = np.full(256, IGNORE, np.uint8)
        count = len(self.names)
        if self.background is None:
            table[: count - 1] = np.arange(1, count)
            table[IGNORE] = 0
            return table
        others = [index for index in range(count) if index != self.background]
        table[self.background] = 0
        table[others] = np.arange(1, count)
        return table


def make_plan(
    dataset: Dataset,
    task: str | None = None,
    *,
    steps: Sequence[Sequence[int | str]] | None = None,
    background: str | int | None = BACKGROUND,
    order_seed: int | None = None,
) -> ClassPlan:
    """task: a name of class_orders.TASKS, or steps: lists of class names or numbers, one list per step.

    background: name or index of the data set's background. None, or the default where no class has that name, adds a
    class "background" before the data set's own. Numbers count the background as 0 and then the data set's other
    classes from 1 on, as the published label files do; step 0 may name it. order_seed: shuffles the classes over steps
    of the same sizes, sorted within each, as the published code drew its orders b and c (without a seed there).
    Raises ConfigError for a class in two steps, in none or outside the data set.
    """
    place = _background_index(dataset.classes, background)
    others = [index for index in range(len(dataset.classes)) if index != place]
    names = (BACKGROUND if place is None else dataset.classes[place], *(dataset.classes[i] for i in others))
    if len(names) > MOST_CLASSES:
        raise ConfigError(f"ClassSteps: {len(names)} classes with the background; labels of one byte hold 255")
    palette = dataset.palette or default_palette(len(dataset.classes))
    colors = ((0, 0, 0) if place is None else palette[place], *(palette[index] for index in others))
    if (task is None) == (steps is None):
        raise ConfigError("ClassSteps: give either task, the name of a published one, or steps, lists of classes")
    named = _steps_of(task) if steps is None else steps
    at = f"task '{task}'" if steps is None else "steps"
    chosen = _checked(_as_numbers(named, names, at), names, at)
    return ClassPlan(names, chosen if order_seed is None else shuffled(chosen, order_seed), tuple(colors), place)


def shuffled(steps: Steps, seed: int) -> Steps:
    """-> steps of the same sizes whose classes are drawn at random, sorted within each step."""
    drawn = np.random.default_rng(seed).permutation([number for classes in steps for number in classes])
    ends = np.cumsum([len(classes) for classes in steps])
    return tuple(tuple(sorted(part.tolist())) for part in np.split(drawn, ends[:-1]))


def remap_table(
    plan: ClassPlan, step: int, *, part: str = "train", setting: str = "disjoint", convention: str = "official"
) -> np.ndarray:
    """-> uint8 [256]: number of a class, or 255 for an ignored pixel -> rank among the model's outputs, or 255.

    convention "official" (fcdl94/MiB): in training every label but the step's own, 255 too, is background; in
    validation labels but the step's own, and in testing unseen ones, are ignored, and so is number 0 where the data set
    has no background of its own. "csseg" (cssegmentation): 255 stays 255, all else but the step's own (in validation
    and testing: the seen) is background, and number 0 is always a class.
    setting "sequential" keeps the labels of old classes; the others agree here.
    """
    shown = plan.steps[step]
    if setting == "sequential" or part == "test" or (convention == "csseg" and part == "val"):
        shown = plan.old(step) + shown
    is_ignored = convention == "official" and part != "train"
    table = np.full(256, IGNORE if is_ignored else 0, np.uint8)
    rank = {number: i for i, number in enumerate(plan.order(step))}
    table[list(shown)] = [rank[number] for number in shown]
    if plan.background is not None:
        table[0] = 0
    if convention == "csseg":
        table[IGNORE] = IGNORE
    return table


def label_table(
    plan: ClassPlan, step: int, *, part: str = "train", setting: str = "disjoint", convention: str = "official"
) -> np.ndarray:
    """-> uint8 [256]: label of the data set (0..K-1 or 255) -> rank among the model's outputs, or 255."""
    return remap_table(plan, step, part=part, setting=setting, convention=convention)[plan.numbers()]


def check_choice(value: str, known: Sequence[str], name: str) -> str:
    """value, where it is known; otherwise ConfigError."""
    if value not in known:
        raise ConfigError(f"ClassSteps.{name} = {value!r}{did_you_mean(value, known)}; there are {', '.join(known)}")
    return value


def _steps_of(task: str) -> Steps:
    name = ALIASES.get(task, task)
    if name not in TASKS:
        known = [*TASKS, *ALIASES]
        hint = did_you_mean(task, known) or f"; there are {', '.join(sorted(known))}"
        raise ConfigError(f"ClassSteps.task = '{task}': no such task{hint}")
    return TASKS[name]


def _background_index(classes: Sequence[str], background: str | int | None) -> int | None:
    if background is None or (background == BACKGROUND and BACKGROUND not in classes):
        return None
    if isinstance(background, int) and 0 <= background < len(classes):
        return background
    if background in classes:
        return list(classes).index(background)
    hint = did_you_mean(str(background), classes) or f"; there are {', '.join(classes)}"
    raise ConfigError(f"ClassSteps.background = {background!r}: no such class of the data set{hint}")


def _as_numbers(steps: Sequence[Sequence[int | str]], names: Sequence[str], at: str) -> Steps:
    """Names or numbers -> numbers, without the background in step 0."""
    found = []
    for step, classes in enumerate(steps):
        if isinstance(classes, str | int):
            raise ConfigError(f"ClassSteps: {at}: step {step} is {classes!r}; each step is a list of classes")
        numbers = []
        for one in classes:
            if isinstance(one, str) and one in names:
                numbers.append(names.index(one))
            elif isinstance(one, int) and 0 <= one < len(names):
                numbers.append(one)
            else:
                counted = f"; numbers count {_listed(range(len(names)), names)}"
                raise ConfigError(
                    f"ClassSteps: {at}: step {step} names class {one!r}, which the data set has not"
                    f"{did_you_mean(str(one), names) or counted}"
                )
        found.append(tuple(number for number in numbers if number != 0 or step > 0))
    return tuple(found)


def _checked(steps: Steps, names: Sequence[str], at: str) -> Steps:
    """The steps, where each class but the background is in exactly one of them."""
    for step, classes in enumerate(steps):
        if 0 in classes:
            raise ConfigError(f"ClassSteps: {at}: step {step} names the background, which step 0 learns")
        if not classes:
            raise ConfigError(f"ClassSteps: {at}: step {step} learns no class")
        twice = [number for number, count in Counter(classes).items() if count > 1]
        earlier = {number: i for i in range(step) for number in steps[i]}
        for number in [*twice, *(number for number in classes if number in earlier)]:
            where = f"steps {earlier[number]} and {step}" if number in earlier else f"step {step} twice"
            raise ConfigError(f"ClassSteps: {at}: class {number} ({names[number]}) is in {where}")
    named = {number for classes in steps for number in classes}
    missing = [number for number in range(1, len(names)) if number not in named]
    if missing:
        counted = "" if len(names) > 40 else f"; numbers count {_listed(range(len(names)), names)}"
        raise ConfigError(f"ClassSteps: {at}: {_listed(missing, names)}: in no step{counted}")
    return steps


def _listed(numbers: Sequence[int], names: Sequence[str], most: int = 30) -> str:
    text = ", ".join(f"{number} {names[number]}" for number in numbers[:most])
    return text + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
