"""Realistic clicks as a user scores them: bands, maps, tables of users, and the comparison of groups."""

import json

import cv2
import numpy as np
import pytest
import torch

from segkit import api
from segkit.files import DataError
from segkit.metrics.noc import noc_scores
from segkit.registry import DATASETS, ConfigError, build, build_model
from segkit.runners.interactive.band_clicker import DistanceClicker, MapClicker, band_of
from segkit.runners.interactive.click_groups import GROUPS, robustness_of, robustness_table, with_clicks
from segkit.runners.interactive.click_maps import read_click_map
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.simulate import simulate
from segkit.runners.interactive.user_clicks import UserClick, answer_alone, clicks_on, read_user_clicks
from segkit.settings import ClickInference
from segkit.types import Meta
from tests.interactive.doubles import Echo, drawn
from tests.interactive.test_click_training import sections


def test_a_band_by_hand():
    values = np.float32([[1, 2], [3, 4]])
    # sorted 1, 2, 3, 4 of mass 1, 3, 6, 10; where a share ends at a value, the band goes on to the next one
    assert band_of(values, 0, 0.05).tolist() == [[1, 0], [0, 0]]
    assert band_of(values, 0, 0.1).tolist() == [[1, 2], [0, 0]]
    assert band_of(values, 0.25, 0.5).tolist() == [[0, 2], [3, 0]]
    assert band_of(values, 0.65, 1).tolist() == [[0, 0], [0, 4]]
    assert band_of(np.float32([[5, 5, 5]]), 0.4, 0.5).tolist() == [[5, 5, 5]]


def test_likely_clicks_lie_deeper_than_unlikely_ones():
    """Of a region 9 pixels high the last tenth of the mass of distances lies in the middle, the first at the border."""
    target = np.zeros((30, 40), np.int8)
    target[10:19, 5:35] = 1
    nothing, free = np.zeros((30, 40), bool), np.ones((30, 40), bool)
    rows = {}
    for low, high in ((0, 0.1), (0.9, 1)):
        clicker = DistanceClicker(low, high)
        clicks = [clicker(nothing, target, free, np.random.RandomState(seed)) for seed in range(30)]
        assert all(click.is_positive and target[click.y, click.x] == 1 for click in clicks)
        rows[low] = {min(c.y - 9, 19 - c.y, c.x - 4, 35 - c.x) for c in clicks}
    assert rows[0] <= {1, 2} and rows[0.9] == {5}


def test_an_earlier_click_is_not_drawn_again():
    target = np.zeros((5, 5), np.int8)
    target[2, 1:3] = 1
    free = np.ones((5, 5), bool)
    free[2, 1] = False
    for clicker in (DistanceClicker(), MapClicker(np.ones((5, 5)))):
        for seed in range(5):
            assert clicker(np.zeros((5, 5), bool), target, free, np.random.RandomState(seed)) == Click(2, 2, True)


def test_a_map_may_depend_on_the_error():
    image, mask = drawn(5)
    seen = []

    def made(region):
        seen.append(region)
        return region * 0.5

    settings = ClickInference(zoom=None, flip=False, max_clicks=2, target_iou=1.01)
    (found,) = simulate(Echo(), [image], [mask], settings, clickers=[MapClicker(made)])
    assert np.array_equal(seen[0], mask == 1) and not np.array_equal(seen[1], mask == 1)
    again = simulate(Echo(), [image, image], [mask, mask], settings, clickers=[MapClicker(made)] * 2)
    assert all(np.array_equal(one["clicks"], found["clicks"]) for one in again)  # each object starts from the seed


def test_the_settings_name_the_band():
    image, mask = drawn(5)
    settings = dict(zoom=None, flip=False, max_clicks=1)
    (ideal,) = simulate(Echo(), [image], [mask], ClickInference(**settings))
    (real,) = simulate(Echo(), [image], [mask], ClickInference(**settings, band=(0.0, 0.1)))
    direct = DistanceClicker(0.0, 0.1)(
        np.zeros(mask.shape, bool), mask, np.ones(mask.shape, bool), np.random.RandomState(42)
    )
    assert real["clicks"][0, :2].tolist() == [direct.y, direct.x] != ideal["clicks"][0, :2].tolist()
    for band in ((0.5, 0.5), (0.9, 0.1)):
        with pytest.raises(ConfigError, match=r"inference.clicks.band = .*lower one first"):
            simulate(Echo(), [image], [mask], ClickInference(band=band))


def test_files_of_click_maps(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.arange(12, dtype=np.uint8).reshape(3, 4))
    np.save(tmp_path / "b.npy", np.full((3, 4), 0.25))
    assert read_click_map(tmp_path, "a", (3, 4))[2, 3] == 11 and read_click_map(tmp_path, "b", (3, 4)).sum() == 3
    with pytest.raises(DataError, match="no click map of 'c'"):
        read_click_map(tmp_path, "c", (3, 4))
    with pytest.raises(DataError, match=r"a.png: click map of \(3, 4\) for an image of \(4, 4\)"):
        read_click_map(tmp_path, "a", (4, 4))
    np.save(tmp_path / "d.npy", np.full((3, 4), -1.0))
    with pytest.raises(DataError, match=r"d\.npy: a click map holds finite numbers of 0 or more"):
        read_click_map(tmp_path, "d", (3, 4))
    with pytest.raises(DataError, match="outside of"):
        read_click_map(tmp_path, "../a", (3, 4))


HEAD = "dataset,image_stem,full_stem,object_stem,click_type,model_type,device,x,y,w,h\n"


def test_a_table_of_users_clicks(tmp_path):
    table = tmp_path / "clicks.csv"
    rows = ["GrabCut,bear,bear,,first,,pc,10,20,100,50", "GrabCut,bear,bear,,first,,mobile,250,-3,100,50"]
    rows += ["TETRIS,cat,cat_7,7,first,,pc,1,2,30,40", "GrabCut,bear,bear_m,,fn,m,pc,5,5,100,50"]
    table.write_text(HEAD + "\n".join(rows) + "\n")
    clicks = read_user_clicks(table)
    assert clicks == {
        "bear": (UserClick(20, 10, 50, 100, "pc"), UserClick(-3, 250, 50, 100, "mobile")),
        "cat_7": (UserClick(2, 1, 40, 30, "pc"),),
    }
    assert clicks["bear"][0].on((50, 100)) == Click(20, 10, True)
    assert clicks["bear"][1].on((100, 200)) == Click(0, 198, True)
    for text, told in (
        (HEAD + "a,b,c,,first,,pc,one,2,3,4\n", "line 2: x, y, w, h = one, 2, 3, 4: must be four numbers"),
        (HEAD + "a,b,c,,first,,pc,1,2,0,4\n", "line 2: a picture of 0x4 pixels"),
        (HEAD + "a,b,c,,fn,,pc,1,2,3,4\n", "no row has click_type 'first'"),
        ("x,y\n1,2\n", "there is no column 'image_stem'"),
    ):
        other = tmp_path / f"{abs(hash(told))}.csv"
        other.write_text(text)
        with pytest.raises(DataError, match=told):
            read_user_clicks(other)


def test_a_table_of_several_data_sets(tmp_path):
    """Data sets share names of images: each is asked for by itself, or the table is refused."""
    table = tmp_path / "clicks.csv"
    rows = ["GrabCut,bear,bear,,first,,pc,10,20,100,50", "Berkeley,bear,bear,,first,,pc,3,4,100,50"]
    table.write_text(HEAD + "\n".join(rows) + "\n")
    assert read_user_clicks(table, "GrabCut") == {"bear": (UserClick(20, 10, 50, 100, "pc"),)}
    assert read_user_clicks(table, "Berkeley") == {"bear": (UserClick(4, 3, 50, 100, "pc"),)}
    with pytest.raises(DataError, match=r"line 3: 'bear' is an object of Berkeley and of GrabCut.*of = 'Berkeley'"):
        read_user_clicks(table)
    with pytest.raises(DataError, match=r"no row with dataset 'DAVIS'.*must be one of Berkeley, GrabCut"):
        read_user_clicks(table, "DAVIS")
    of_one_set = tmp_path / "one.csv"
    of_one_set.write_text("image_stem,object_stem,click_type,device,x,y,w,h\nbear,,first,pc,1,2,9,8\n")
    assert read_user_clicks(of_one_set) == {"bear": (UserClick(2, 1, 8, 9, "pc"),)}
    with pytest.raises(DataError, match=r"no row with dataset 'DAVIS' has click_type 'first'.*of users$"):
        read_user_clicks(of_one_set, "DAVIS")


def test_the_only_object_of_an_image_has_the_clicks_on_the_image():
    """Ids of TETRIS hold the object's number in any case, its users' clicks only where the image has several."""
    click = UserClick(1, 2, 3, 4, "pc")
    table = {"alone": (click,), "pair_7": (click, click)}
    assert clicks_on(table, Meta(id="alone_65535", path="images/alone.jpg")) == (click,)
    assert clicks_on(table, Meta(id="pair_7", path="images/pair.jpg")) == (click, click)
    assert clicks_on(table, Meta(id="pair_9", path="images/pair.jpg")) == ()


def test_each_users_click_is_answered_from_a_clean_state():
    image, mask = drawn(5)
    settings = ClickInference(zoom=None, flip=False)
    users = [UserClick(30, 36, 64, 80, "pc"), UserClick(60, 2, 64, 80, "pc"), UserClick(15, 18, 32, 40, "pc")]
    ious = answer_alone(Echo(), image, torch.from_numpy(mask), users, settings)
    assert len(ious) == 3 and ious[0] == ious[2] != ious[1]
    assert answer_alone(Echo(), image, torch.from_numpy(mask), [], settings).shape == (0,)


def item(name: str, ious: list[float], **more) -> dict:
    return dict(id=name, clicks=[[0, 0, True]] * len(ious), ious=ious, seconds=1.0, **more)


def test_groups_are_compared_by_hand():
    """Two objects, two clicks: ideal ones need 1 and 2 clicks; the likely half 1 and 2, the other 2 and 2."""
    ideal = noc_scores([item("a", [0.9, 0.9]), item("b", [0.5, 0.9])], (0.9,), (2,))
    slow = noc_scores([item("a", [0.5, 0.9]), item("b", [0.5, 0.7])], (0.9,), (2,))
    results = {"set ideal": ideal, **{f"set {name}": slow if i < 5 else ideal for i, name in enumerate(GROUPS)}}
    found = robustness_of(results)["set"]
    assert found["NoC"] == pytest.approx(
        {"base": 1.5, "sampled": 1.75, "std": 0.25, "dSB": 100 * (0.5 + 0) / 2, "dGR": 50.0, "dHH": 50.0}
    )
    # success at the last click counts as a failure, as published
    assert found["NoF"] == pytest.approx({"base": 1, "sampled": 1.5, "std": 0.5, "dSB": 0.5, "dGR": 1, "dHH": 1})
    assert found["IoU"]["base"] == pytest.approx(80) and found["IoU"]["dGR"] == pytest.approx(-15)
    table = robustness_table({"set": found})
    assert "set     NoC     1.50     1.75     0.25    25.00    50.00    50.00" in table
    assert json.dumps(found)


def test_sections_of_each_group():
    cfg = {"runner": {"type": "Interactive"}, "inference": {"clicks": {"zoom": None}}}
    sections = {"": dict(dataset=dict(type="GrabCut"), inference=dict(clicks=dict(flip=False, users="u.csv")))}
    runs = with_clicks(cfg, sections, "real")
    assert list(runs) == ["ideal", *GROUPS]
    assert runs["G10"]["inference"]["clicks"] == dict(flip=False, users=None, band=(0.9, 1.0), target_iou=1.01)
    assert runs["ideal"]["inference"]["clicks"]["band"] is None and sections[""]["inference"]["clicks"]["flip"] is False
    assert list(with_clicks(cfg, {"A": sections[""]}, "real"))[:2] == ["A ideal", "A G1"]
    assert with_clicks(cfg, sections, None) is sections
    assert with_clicks(cfg, sections, "ideal")[""]["inference"]["clicks"]["band"] is None
    with pytest.raises(ConfigError, match="the runner Semantic is not scored by clicks"):
        with_clicks({"runner": {"type": "Semantic"}}, sections, "real")
    with pytest.raises(ConfigError, match="--clicks many: must be ideal or real"):
        with_clicks(cfg, sections, "many")


def test_a_model_is_scored_by_real_clicks(tmp_path):
    cfg = sections()
    cfg["inference"]["clicks"] |= dict(boundary_iou=True)
    cfg["val"]["dataset"]["length"] = 3
    torch.manual_seed(0)
    network = build_model(cfg["model"]).eval()
    network.config = cfg
    told: list[str] = []
    scores = api.evaluate(network, split="val", clicks="real", out=tmp_path / "real.json", say=told.append)
    assert list(scores) == ["ideal", *GROUPS, "robustness"]
    assert all(len(item["clicks"]) == 2 for run in ("ideal", *GROUPS) for item in scores[run]["items"])
    # of objects so small the likeliest pixels may be the deepest ones
    starts = {run: [item["clicks"][0] for item in scores[run]["items"]] for run in ("ideal", "G1", "G10")}
    assert starts["G1"] != starts["ideal"] and starts["G1"] != starts["G10"]
    assert set(scores["robustness"][""]) == {"NoC", "NoF", "IoU"} and len(scores["ideal"]["boundary@k"]) == 2
    assert json.loads((tmp_path / "real.json").read_text()) == json.loads(json.dumps(scores))
    assert any("dSB" in text and " IoU" in text for text in told)
    assert scores["ideal"]["device"] == "cpu" and scores["ideal"]["seconds_further_click"] > 0


def test_users_and_maps_of_a_config(tmp_path):
    """The table and the maps name objects by the ids of the data set; an object without users has none."""
    cfg, dataset = sections(), build(sections()["val"]["dataset"], DATASETS, "val.dataset")
    names = [str(name) for name in dataset.ids]
    firsts = [np.unravel_index((dataset.sample(i)["mask"] == 1).argmax(), (32, 32)) for i in range(len(names))]
    rows = [f"S,{name},{name},,first,,pc,16,16,32,32" for name in names[1:] for _ in range(3)]
    (tmp_path / "users.csv").write_text(HEAD + "\n".join(rows) + "\n")
    (tmp_path / "maps").mkdir()
    for i, name in enumerate(names):
        corner = np.zeros((32, 32), np.uint8)
        corner[firsts[i]] = 200
        (tmp_path / "maps" / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "maps" / f"{name}.png"), corner)
    cfg["inference"]["clicks"] |= dict(maps=str(tmp_path / "maps"), users=str(tmp_path / "users.csv"), max_clicks=1)
    network = build_model(cfg["model"]).eval()
    network.config = cfg
    scores = api.evaluate(network, split="val")
    for i, found in enumerate(scores["items"]):
        index = names.index(found["id"])
        assert found["clicks"][0] == [*map(float, firsts[index]), True]
        assert len(found["user_ious"]) == (3 if index else 0), i
    assert scores["user@1"]["objects"] == len(names) - 1 and scores["user@1"]["std"] == pytest.approx(0)
