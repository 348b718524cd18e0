"""Wrong values and broken structures of configs: each is named before training, none ends in a traceback or a hang."""

import re
from collections import Counter
from pathlib import Path

import pytest

from segkit import api
from segkit.runners.training import check_sections
from segkit.schema import check
from tests.fuzz import OPERATIONS, SMALL, Case, checked, mutants, outcome, small_config, wrong_values

CONFIGS = sorted(
    str(path) for path in (Path(__file__).parents[1] / "configs").rglob("*.py") if "_base_" not in path.parts
)

RIGHTLY_ACCEPTED = {
    # numbers whose sign or size is free
    r"((runner\.later\.)?optimizer\.(lr|eps|weight_decay|betas)|schedule\.(div_factor|final_div|rise|momentum_low)|loop\.clip)$",
    r"model\.(backbone\.(mean|std)|norm_radius|radius)(\.\d)?$",
    r"(losses|runner\.losses)\.\d\.(weight|ignore|gamma|alpha|beta|smooth|eps|sigma|max_mult|dice|image|length|feature)$",
    r"(losses|runner\.losses)\.\d\.(projection|category|consistency|iterations|projection_steps|label_smoothing)$",
    r"(train|val|test)\.transforms\.\d\.(p|gamma|negatives|merge|erode|expand_ratio|inner_k|full_inner|max_\w+)$",
    r"train\.transforms\.\d\.erode_steps$",
    # counts: large ones are slow, and rare events are never
    r"(runner\.later\.)?loop\.(steps|epochs|accumulate|keep|seed|log_every|eval_every|save_every|ema)$",
    r"(train|val|test)\.(batch_size|workers|prefetch|timeout)$",
    r"loop\.process_timeout$",
    # any text is a name in the log, and without one the loss's is taken
    r"losses\.\d\.name$",
    r"loop\.monitor$",
    r"(train|val|test)\.dataset\.(length|seed)$",
    r"(train|val|test)\.sampler(\.seed)?$",
    r"(runner\.(iterations|previous_dropout|growth|divisor|padding|order_seed|teacher_start|teacher_decay))$",
    r"model\.\w+\.(channels|reduction|depth|candidates|limit|\w+_channels|num_blocks|groups|extra_levels)(\.\d)?$",
    r"model\.\w+\.(level_features|sigma|\w*score\w*|mask_threshold|dropout|mask_groups|kernel\w*)$",
    r"metrics\.\d\.(beta|limits|thresholds|max_detections|box_iou|score|exclude|groups)(\.\d)?$",
    r"inference\.(threshold|pad_divisor|stride|crop|clicks\.\w+)$",
    # empty lists and dicts, None for a default, and switches
    r"(metrics|hooks|init|test|val|schedule|weighting|runner\.(later|regulariser|lists|start|task))$",
    r"((train|val|test)\.(transforms|inference)|inference\.(refiners|tta|clicks))$",
    r"(model\.(aux|neck|groups)|optimizer\.(groups|freeze|layer_decay)|runner\.losses|losses)$",
}
"""Paths at which some of the values that are tried are right: patterns, looked at one by one."""

SWITCHES = (True, None, 0, 2, 1.5, (), [], {})
"""Values that fit a switch, a count or an optional setting by their type."""

SLOW_BUT_RIGHT = re.compile(r"(length|batch_size|accumulate)$")
"""Counts that a large value makes slow, which is no hang."""


def is_rightly_accepted(case: Case) -> bool:
    """Whether a value that the check lets pass is a right one: its path is on the list, or it is a plain switch."""
    if any(re.match(pattern, case.path) for pattern in RIGHTLY_ACCEPTED):
        return True
    return any(type(case.value) is type(value) and case.value == value for value in SWITCHES)


@pytest.mark.parametrize("runner", SMALL)
def test_the_configs_pass_unchanged(runner, capsys):
    api.check_data(small_config(runner), device="cpu")
    assert re.search(r"model of 0\.\d\dM parameters, losses, one optimizer step", capsys.readouterr().out)


def try_values(cases: list[Case]) -> None:
    """Tries wrong values, and fails where one is bare, hangs, or is accepted without being on the list."""
    counts: Counter[str] = Counter()
    unnamed = []
    for case in cases:
        if SLOW_BUT_RIGHT.search(case.path) and case.value == 10**6:
            continue
        result, message, _ = checked(case)
        counts[result] += 1
        if result in ("bare", "hang") or (result == "accepted" and not is_rightly_accepted(case)):
            unnamed.append((result, *case, message.split("\n")[0]))
    assert not unnamed, f"{counts}: {unnamed}"
    assert counts["named"] > 0.85 * counts.total(), counts


def try_structures(count: int, seed: int) -> None:
    """Tries broken structures, and fails where one is bare, hangs, or is accepted although it cannot be right."""
    counts: Counter[str] = Counter()
    wrong = []
    for mutant, cfg in mutants(CONFIGS, count, seed):
        result, message, _ = outcome(lambda cfg=cfg: (check(cfg), check_sections(cfg)))
        counts[result] += 1
        is_named = result == "named" and mutant.path.split(".")[0] in message
        # what is left out may be optional, and a dict or list may be empty
        may_pass = mutant.operation in ("delete", "misspell", "none", "empty dict", "empty list")
        # sections of later class steps and of a second model are checked by their runner, with the whole config; and
        # another optimizer is right as it is
        may_pass |= mutant.path.startswith(("runner.later", "runner.second")) or mutant.path == "optimizer"
        # one number is a square, a step in both directions, and a fill of all channels
        may_pass |= mutant.operation == "number" and mutant.path.endswith((".size", ".fill", ".stride", ".crop"))
        # what a row of losses reads is looked up in the first batch, since transforms of one's own may add to it
        may_pass |= mutant.operation in ("add", "text") and mutant.path.endswith((".on", ".target"))
        if not is_named and not (result == "accepted" and may_pass):
            wrong.append((result, *mutant, message.split("\n")[0]))
    assert not wrong, f"{counts}: {wrong}"
    assert counts["named"] > 0.8 * counts.total(), counts


@pytest.mark.parametrize("part", range(4))
def test_wrong_values_are_named(part):
    """600 in all, in parts that several processes share."""
    try_values(wrong_values(600, seed=20261129)[part::4])


def test_broken_structures_are_named():
    try_structures(300, seed=20261129)
    assert set(OPERATIONS) <= {mutant.operation for mutant, _ in mutants(CONFIGS[:20], 200, seed=1)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_wrong_values_are_named(seed):
    try_values(wrong_values(600, seed))


@pytest.mark.slow
def test_many_broken_structures_are_named():
    try_structures(3000, seed=1)


@pytest.mark.parametrize(
    "runner, path, value, text",
    [
        # values that 0.1.0 took, and some that ended its training in a traceback
        ("semantic", "loop.steps", -5, "loop.steps = -5: must be a whole number of 0 or more"),
        ("semantic", "loop.steps", float("nan"), "loop.steps = nan: must be a whole number"),
        ("semantic", "loop.epochs", -1, "loop.epochs = -1"),
        ("semantic", "val.batch_size", -1, "val.batch_size = -1"),
        ("semantic", "loop.clip", -1.0, "loop.clip = -1.0: must be a number of 0 or more"),
        ("semantic", "loop.ema", 1.5, "loop.ema = 1.5: must be a number from 0 to below 1"),
        ("semantic", "losses.0.weight", -1.0, "losses.0.weight = -1.0"),
        ("semantic", "loop.keep", -1, "loop.keep = -1"),
        ("semantic", "loop.channels_last", "False", "loop.channels_last = 'False': must be True or False"),
        ("semantic", "losses.0.class_weight", [0, -1, 1, 1, 1, 1], "losses.0.class_weight.1 = -1"),
        ("semantic", "losses.0.class_weight", [1.0, 2.0], "losses.0.class_weight: 2 numbers for 6 classes"),
        ("semantic", "losses.0.label_smoothing", -1, "losses.0.label_smoothing = -1"),
        ("semantic", "schedule.warmup", {"steps": -5}, "schedule.warmup.steps = -5"),
        ("semantic", "schedule.rise", 2, "schedule.rise = 2: must be a number from 0 to below 1"),
        ("semantic", "schedule", {"type": "Step", "every": -1}, "schedule.every = -1"),
        ("semantic", "schedule", {"type": "Step", "every": 0}, "schedule.every = 0"),
        ("semantic", "inference.pad_divisor", 0, "inference.pad_divisor = 0"),
        ("semantic", "inference.threshold", 2, "inference.threshold = 2: must be a number from 0 to 1"),
        ("semantic", "inference.tta", {"scales": [100]}, "inference.tta.scales.0 = 100"),
        ("interactive", "inference.clicks.max_clicks", float("nan"), "inference.clicks.max_clicks = nan"),
        ("semantic", "train.batch_size", "2", "train.batch_size = '2': must be a whole number of 1 or more; write it"),
        ("semantic", "train.workers", -1, "train.workers = -1"),
        ("semantic", "train.prefetch", 0, "train.prefetch = 0"),
        ("semantic", "loop.seed", None, "loop.seed = None"),
        ("semantic", "loop.eval_every", "often", "loop.eval_every = 'often'"),
        ("semantic", "optimizer.lr", "1e-3", "optimizer.lr = '1e-3'"),
        ("semantic", "optimizer.lr", 1e38, "optimizer.lr = 1e+38: must be a number from 0 to 1000000"),
        ("semantic", "optimizer.groups", [0.5], "optimizer.groups.0: expected dict"),
        ("semantic", "optimizer.groups", [{"match": "("}], "optimizer.groups.0.match = '('"),
        ("semantic", "losses.0.on", "logit", "losses.0.on"),
        ("semantic", "losses.0.target", "masks", "losses.0"),
        ("semantic", "model.head.upsample", "bicubicc", "model.head.upsample = 'bicubicc': must be 'nearest' or"),
        ("semantic", "model.backbone.channels", [], "backbone"),
        ("semantic", "train.sampler", None, "train.sampler = None"),
        ("semantic", "hooks", 3, "hooks"),
        ("semantic", "optimizer", {"type": "LBFGS"}, "optimizer.type = 'LBFGS'"),
        ("semantic", "optimizer", {"type": "SparseAdam"}, "optimizer.type = 'SparseAdam'"),
        ("semantic", "losses.0.ignore", None, "losses.0.ignore = None"),
        ("semantic", "model.num_classes", 7, "Shapes has 6 classes, the model 7: set num_classes"),
        ("semantic", "model", None, "model: this section is missing"),
        ("semantic", "train.transforms", [{"type": "Flip", "p": -1}], "train.transforms.0.p = -1"),
        ("semantic", "train.transforms", [{"type": "RandomCrop", "size": 0}], "train.transforms.0.size = 0"),
        ("incremental", "runner.later.optimizer.lr", {}, "optimizer.lr = {}"),
        ("box_supervised", "model.neck.extra_levels", 10**6, "model.neck.extra_levels = 1000000"),
    ],
)
def test_wrong_values_of_users(runner, path, value, text):
    result, message, _ = checked(Case(runner, path, value))
    assert result == "named" and text in message, (result, message)


def test_a_number_is_a_square_everywhere(capsys):
    cfg = small_config("semantic")
    cfg["inference"] = {"mode": "slide", "crop": 64, "stride": 48}
    api.check_data(cfg, device="cpu")
    assert "one scored image" in capsys.readouterr().out
