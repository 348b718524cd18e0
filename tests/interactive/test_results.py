"""What users see of an interactive run: table, curve, JSON and pictures of `test`, and runs compared by `analyze`."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from segkit.cli.main import main
from segkit.data.dataset import Dataset
from segkit.engine.hooks import Checkpoint
from segkit.engine.monitor import Monitor
from segkit.engine.pictures import row_of
from segkit.metrics import noc_table
from segkit.readers.python_config import dump
from segkit.registry import HOOKS, ConfigError
from segkit.runners.interactive.pictures import ShowClicks
from segkit.runners.interactive.runner import Interactive
from segkit.viz import clicks, draw, plots
from tests.tiny import sections

NUM_ITEMS = 9


class Squares(Dataset):
    """A bright square on grey, with a border of one ignored pixel; item i needs i + 1 clicks."""

    classes = ("background", "object")
    palette = ((0, 0, 0), (230, 159, 0))
    ignore = -1

    def __init__(self, first: int = 0, length: int = NUM_ITEMS):
        self.ids = [f"set/square_{i}" for i in range(first, first + length)]

    def image(self, index):
        image = np.full((24, 32, 3), 90, np.uint8)
        image[6:18, 8:20] = 200
        return image

    def mask(self, index):
        mask = np.zeros((24, 32), np.int8)
        mask[5:19, 7:21] = -1
        mask[6:18, 8:20] = 1
        return mask


def answer(number: int, keep_masks: bool) -> dict:
    """number + 1 clicks, each with a larger part of the square, the last one with all of it."""
    masks = []
    for k in range(number + 1):
        mask = np.zeros((24, 32), np.uint8)
        mask[6 : 6 + round(12 * (k + 1) / (number + 1)), 8:20] = 1
        masks.append(mask)
    ious = [float(mask.sum()) / 144 for mask in masks]
    clicks = [[6.0 + k, 9.0, float(k % 2 == 0)] for k in range(number + 1)]
    result = dict(labels=masks[-1], clicks=np.float32(clicks), ious=np.float32(ious), seconds=0.5 * len(clicks))
    return result | ({"masks": [rle.encode(np.asfortranarray(one)) for one in masks]} if keep_masks else {})


class Clicking(Interactive):
    """Clicks as the number in an image's id says, without a model."""

    keep_masks = False

    def forward(self, model, batch, rng):
        return model(batch["image"])

    def predict(self, model, batch):
        return [answer(int(meta["id"].rpartition("_")[2]), self.keep_masks) for meta in batch["meta"]]

    def show(self, folder, dataset, count):
        self.keep_masks = True
        return ShowClicks(folder, dataset, count)


def section(**dataset) -> dict:
    return dict(workers=0, batch_size=2, dataset=dict(type="tests.interactive.test_results:Squares", **dataset))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A config whose runner clicks, and a checkpoint for it."""
    folder = tmp_path_factory.mktemp("clicks")
    cfg = sections()
    cfg["model"] |= dict(num_classes=1)
    cfg["model"].pop("aux")
    cfg["losses"] = [dict(type="BinaryCrossEntropy", on="logits", target="mask")]
    cfg["train"]["dataset"] = section()["dataset"]
    cfg |= dict(val=section(length=3), test=section(), metrics=[dict(type="NoC", limits=(5, 20))])
    cfg["runner"] = dict(type="tests.interactive.test_results:Clicking")
    cfg["loop"] |= dict(steps=2, monitor="NoC@90", better="lower")
    cfg["hooks"] = [dict(type="TrainIoU")]
    (folder / "one.py").write_text(dump(cfg))
    cfg["test"] = dict(grabcut=section(length=3), berkeley=section(first=5, length=2))
    (folder / "two.py").write_text(dump(cfg))
    assert main(["train", str(folder / "one.py"), "--work-dir", str(folder / "out"), "--device", "cpu"]) == 0
    return folder


def scored(run, config: str, *words: str) -> dict:
    out = run / f"{config}.json"
    arguments = ["test", str(run / f"{config}.py"), str(run / "out/last.pt"), "--out", str(out), "--device", "cpu"]
    assert main([*arguments, *words]) == 0
    return json.loads(out.read_text())


def test_training_watches_clicks_and_the_iou_of_its_batches(run):
    # items 0, 1, 2 are found at the first, second and third click
    assert torch.load(run / "out/best.pt", weights_only=True)["best"] == 2
    records = [json.loads(line) for line in (run / "out/log.jsonl").read_text().splitlines()]
    losses = [one for one in records if "loss" in one]
    assert 0 <= losses[-1]["train_iou"] <= 100 and len(losses[-1].keys() & {"train_iou", "grad_norm"}) == 1
    terms = {"step", "stage", "loss", "train_iou", "lr", "seconds_per_step", "data_share"}
    assert losses[-1]["loss"] == pytest.approx(sum(losses[-1][name] for name in losses[-1].keys() - terms))


def test_the_table_the_curve_and_every_click(run, capsys):
    scores = scored(run, "one")
    text = capsys.readouterr().out
    # objects 0..8 take 1..9 clicks (8 has 11 of 12 rows at the eighth), of which the first limit counts five at most
    assert scores["NoC@90"] == pytest.approx((1 + 2 + 3 + 4 + 5 * 5) / 9)
    assert scores["limits"]["5"][">=5"]["90"] == 5 and scores["limits"]["5"]["not_reached"]["90"] == 4
    assert scores["limits"]["20"]["NoC"]["90"] == pytest.approx((sum(range(1, 9)) + 8) / 9) and scores["images"] == 9
    assert scores["seconds_per_click"] == 0.5
    assert [len(one["clicks"]) for one in scores["items"]] == list(range(1, 10))
    assert scores["items"][2]["clicks"] == [[6.0, 9.0, True], [7.0, 9.0, False], [8.0, 9.0, True]]
    assert scores["items"][2]["ious"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert scores["mIoU@k"]["held"][0] == pytest.approx(scores["mIoU@1"])
    assert noc_table.published_table({"Squares": scores}, "NoBRS", limit=20, model="last") in text
    assert noc_table.published_table({"Squares": scores}, "NoBRS", limit=5, model="last") in text
    assert "NoC5@90 3.89, not reached after 5 clicks: 4" in text
    picture = cv2.imread(str(run / "one_clicks.png"))
    assert picture is not None and picture.std() > 5


def test_a_row_for_each_test_set(run, capsys):
    scores = scored(run, "two")
    text = capsys.readouterr().out
    assert (scores["grabcut"]["NoC@90"], scores["berkeley"]["limits"]["20"]["NoC"]["90"]) == (2, 6.5)
    rows = [line for line in text.splitlines() if line.startswith("|    NoBRS    |")]
    assert [row.split("|")[2].strip() for row in rows] == ["grabcut", "berkeley"] * 2


def test_pictures_begin_with_the_worst(run, capsys):
    folder = run / "show"
    scored(run, "one", "--show", str(folder), "--show-count", "7")
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop() == "overview.png" and len(names) == 7
    assert names[0] == "0001_clicks009_iou100.0_set_square_8.png"
    assert names[-1] == "0007_clicks003_iou100.0_set_square_2.png"
    assert f"picture: {folder / 'overview.png'}" in capsys.readouterr().out
    wide, small = (cv2.imread(str(folder / name)) for name in (names[0], names[-1]))
    # ten cells take two lines, four cells one
    assert wide.shape[0] > 1.7 * small.shape[0] and wide.shape[1] > 1.5 * small.shape[1]


def click_run(number: int = 2, **changes) -> clicks.ClickRun:
    data, one = Squares(), answer(number, keep_masks=True)
    run = clicks.ClickRun("a", data.image(0), data.mask(0), one["clicks"], one["ious"], one["masks"])
    return run._replace(**changes)


def test_a_step_shows_mask_and_clicks():
    grey = np.full((100, 200, 3), 90, np.uint8)
    picture = clicks.numbered_clicks(grey, np.float32([[10, 20, 1], [39, 79, 0]]), 2.0)
    # beside the number: 2 * (20 + .5) across, 2 * (10 + .5) down, 4 pixels to the left
    assert picture[21, 37].tolist() == list(draw.POSITIVE) and picture[79, 155].tolist() == list(draw.NEGATIVE)
    assert (grey == 90).all() and picture[50, 5].tolist() == [90, 90, 90]
    # the square of 12 x 12 pixels is 120 x 120 in a cell; after the first of three clicks its upper third is tinted
    scene = clicks._scene(click_run(), 0, 320)
    tinted = (200 * 0.45 + np.array(draw.CHOSEN) * 0.55).astype(np.uint8)
    assert scene.shape == (240, 320, 3)
    assert scene[90, 170].tolist() == tinted.tolist() and scene[120, 170].tolist() == [200, 200, 200]
    assert scene[60, 140].tolist() == list(clicks.TRUTH)


def test_pictures_without_the_mask_of_every_click():
    whole, last = (clicks.steps(click_run()), clicks.steps(click_run(masks=[answer(2, False)["labels"]])))
    assert last.shape[1] < whole.shape[1] and last.shape[0] == whole.shape[0]
    assert clicks.overview([click_run(), click_run(8)]).std() > 5


def test_click_targets_are_drawn_in_training_too():
    batch = dict(image=torch.zeros(1, 3, 24, 32, dtype=torch.uint8), mask=[torch.from_numpy(Squares().mask(0))])
    batch["meta"] = [dict(valid=(24, 32))]
    _, truth, labels = row_of(answer(0, False), batch, 0)
    assert np.unique(truth).tolist() == [0, 1, 255] and labels.sum() == 144


def stored(run, name: str, clicks: list[int]) -> str:
    """A score file of the objects 0, 1, ... with that many clicks to .90."""
    from segkit.metrics.noc import noc_scores

    items = [
        dict(id=f"o{i}", clicks=[[0, 0, True]] * n, ious=[0.5] * (n - 1) + [0.95], seconds=1.0)
        for i, n in enumerate(clicks)
    ]
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(json.dumps(noc_scores(items, (0.85, 0.9), (20,))))
    return str(run / name)


def test_runs_beside_each_other(tmp_path, capsys):
    files = [stored(tmp_path, "a/metrics.json", [1, 2, 3, 3]), stored(tmp_path, "b/metrics.json", [1, 4, 1, 3])]
    assert main(["analyze", "clicks", *files, "--out", str(tmp_path / "curve.png")]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert cv2.imread(str(tmp_path / "curve.png")) is not None
    # at the first click one of four objects is found, by run b two
    assert next(line for line in lines if line.startswith("a ")).split()[:2] == ["a", f"{(3 * 50 + 95) / 4:.2f}"]
    assert next(line for line in lines if line.startswith("b ")).split()[:2] == ["b", f"{(2 * 50 + 2 * 95) / 4:.2f}"]
    means = [line.split() for line in lines[lines.index("4 objects in all runs") + 2 :][:2]]
    assert means == [["a", "2.25", "0", "0"], ["b", "2.25", "1", "1"]]
    assert lines[-3].split() == ["2", "4", "o1"] and lines[-2].split() == ["3", "1", "o2"]
    assert (
        main(["analyze", "clicks", files[0], "--threshold", ".5", "--limit", "2", "--out", str(tmp_path / "c.png")])
        == 0
    )
    assert "NoC2@50" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, told",
    [
        ("{}", "holds no clicks"),
        ('{"mIoU": 3}', "holds no clicks"),
        ("[", "not a JSON file"),
        (None, "not a JSON file"),
    ],
)
def test_files_without_clicks(content, told, tmp_path, capsys):
    path = tmp_path / "m.json"
    if content is not None:
        path.write_text(content)
    assert main(["analyze", "clicks", str(path)]) == 2
    error = capsys.readouterr().err
    assert told in error and "m.json" in error and "Traceback" not in error


def test_no_curve_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no curves to draw"):
        plots.click_curves({"a": []}, tmp_path / "a.png")


def test_a_real_model_from_its_clicks_to_pictures_and_back(tmp_path, capsys):
    from segkit.registry import build_model

    cfg = sections()
    cfg["model"] = dict(
        type="ClickSegmentor", num_classes=1, backbone=cfg["model"]["backbone"], head=cfg["model"]["head"]
    )
    cfg |= dict(val=section(length=3), metrics=[dict(type="NoC", limits=(4,))], losses=[dict(type="NormalizedFocal")])
    cfg |= dict(runner=dict(type="Interactive"), inference=dict(clicks=dict(max_clicks=4, zoom=None)))
    (tmp_path / "real.py").write_text(dump(cfg))
    torch.manual_seed(0)
    torch.save(dict(model=build_model(cfg["model"]).state_dict()), tmp_path / "real.pt")
    words = [str(tmp_path / "real.py"), str(tmp_path / "real.pt"), "--device", "cpu"]
    assert main(["test", *words, "--out", str(tmp_path / "m.json"), "--show", str(tmp_path / "show")]) == 0
    scores = json.loads((tmp_path / "m.json").read_text())
    assert [len(one["clicks"]) for one in scores["items"]] == [4, 4, 4]
    # nothing is predicted yet: the first click is the middle of the square
    assert scores["items"][0]["clicks"][0] == [11, 13, True]
    assert len(list((tmp_path / "show").iterdir())) == 4
    capsys.readouterr()
    cv2.imwrite(str(tmp_path / "image.png"), Squares().image(0))
    assert main(["predict", *words, str(tmp_path / "image.png"), "--out", str(tmp_path / "labels")]) == 2
    assert "use segkit.click_predictor" in capsys.readouterr().err


class OneTerm(torch.nn.Module):
    """A criterion of one term."""

    def forward(self, outputs, batch, step):
        return {"loss": outputs["logits"].sum()}


def attached(**arguments) -> tuple:
    """-> a TrainIoU attached to a criterion, the criterion and the loop of both."""
    hook = HOOKS.get("TrainIoU")(**arguments)
    loop = SimpleNamespace(criterion=OneTerm(), raw_model=SimpleNamespace(align_corners=True))
    terms: dict = {}
    hook.after_step(loop, terms)
    assert terms == {}
    return hook, loop.criterion, loop


def test_the_iou_of_a_batch_is_a_term_of_the_log_that_changes_no_loss():
    hook, criterion, loop = attached()
    mask = torch.tensor([[[1.0, 1.0, 0.0, -1.0]]])
    logits = torch.tensor([[[[5.0, -5.0, -5.0, 5.0]]]], requires_grad=True)
    assert criterion({"logits": logits}, {"mask": mask}, 0).keys() == {"loss"}
    terms: dict = {}
    hook.after_step(loop, terms)
    assert terms.keys() == {"train_iou"} and float(terms["train_iou"]) == 50
    assert not terms["train_iou"].requires_grad
    # the next stage has a criterion of its own
    loop.criterion = OneTerm()
    hook.after_step(loop, terms := {})
    assert terms == {} and len(loop.criterion._forward_hooks) == 1


@pytest.mark.parametrize(
    "arguments, told",
    [
        (dict(on="logit"), "TrainIoU.on = 'logit': .* available: logits"),
        (dict(target="masks"), "TrainIoU.target = 'masks'"),
        (dict(), "this output has 2 channels"),
    ],
)
def test_the_iou_of_something_else(arguments, told):
    _, criterion, _ = attached(**arguments)
    with pytest.raises(ConfigError, match=told):
        criterion({"logits": torch.zeros(1, 2, 4, 4)}, {"mask": torch.zeros(1, 4, 4)}, 0)


def test_a_score_with_a_dot_in_its_name_can_be_monitored(monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "_save", lambda self, loop, name: saved.append(name))
    loop = SimpleNamespace(monitor=Monitor("NoC@92.5", "lower"), best=None, step=1)
    for value in (7.0, 8.0, 6.5):
        Checkpoint().after_eval(loop, {"NoC@92.5": value})
    assert loop.best == 6.5 and len(saved) == 2
