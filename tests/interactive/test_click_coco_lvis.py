"""COCO+LVIS: its packed format, its index, the conversion that makes it, and files that must not be trusted."""

import json
import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest

from segkit.cli.main import main
from segkit.data.files.flat_index import cached_index, in_memory, open_index, write_index
from segkit.data.files.packed_pickle import load_layers, load_published
from segkit.data.interactive.coco_lvis import COCOLVISClicks
from segkit.data.prepare import coco_lvis, jobs
from segkit.data.prepare.lists import STUFF
from segkit.files import DataError
from tests.data.layouts import rows, write_image
from tests.interactive.test_click_readers import areas, cache, rng, write_inst  # noqa: F401
from tests.interactive.test_click_sets import box, drawn, of


def encoded(layer):
    return cv2.imencode(".png", np.asarray(layer, np.uint8))[1]


def write_packed(place, name, layers, mapping, entry):
    """One image in the published format, added to the annotations there are."""
    write_image(place / "images" / f"{name}.jpg", layers[0].shape)
    (place / "masks").mkdir(exist_ok=True)
    (place / "masks" / f"{name}.pickle").write_bytes(pickle.dumps(([encoded(one) for one in layers], mapping)))
    path = place / "hannotation.pickle"
    known = pickle.loads(path.read_bytes()) if path.is_file() else {}
    path.write_bytes(pickle.dumps({**known, name: entry}))


@pytest.fixture
def packed(tmp_path):
    """Image b: 0 with its part 1 in another layer, 2 alone; stuff 3 beside 2 in layer 0, stuff 4 alone in layer 2."""
    whole = np.zeros((6, 8), np.uint8)
    whole[:4, :4], whole[5, :2], whole[5, 4:] = 1, 2, 3
    part = np.where(drawn(0, 0, 2, 2), 1, 0)
    sky = np.where(drawn(4, 0, 8, 4), 1, 0)
    hierarchy = {
        0: {"children": [1], "parent": None, "node_level": 0},
        1: {"children": [], "parent": 0, "node_level": 1},
        2: None,
    }
    entry = {"num_instance_masks": 3, "hierarchy": hierarchy}
    mapping = [(0, 1), (1, 1), (0, 2), (0, 3), (2, 1)]
    place = tmp_path / "set" / "train"
    write_packed(place, "b", [whole, part, sky], mapping, entry)
    write_packed(place, "a", [part], [(0, 1)], {"num_instance_masks": 1, "hierarchy": {0: None}})
    return tmp_path / "set"


def test_objects_with_their_hierarchy(packed):
    dataset = COCOLVISClicks(str(packed))
    assert list(dataset.ids) == ["a", "b"]
    sample = dataset.sample(1, rng())
    assert areas(sample) == {0: 16, 1: 4, 2: 2}
    assert sample["objects"][0].children == (1,) and sample["objects"][1].parent == 0
    assert sample["objects"][2][2:] == (None, ())
    # stuff is taken out of a layer it shares, and its own layer is not there
    assert sample["layers"].shape == (6, 8, 2) and (sample["layers"] > 0).sum() == 16 + 4 + 2


def test_stuff_is_kept_by_chance(packed):
    sample = COCOLVISClicks(str(packed), stuff_prob=1.0).sample(1, rng())
    assert areas(sample) == {0: 16, 1: 4, 2: 2, 3: 4, 4: 16}
    assert list(sample["objects"]) == [0, 1, 2, 3, 4]
    dataset = COCOLVISClicks(str(packed), stuff_prob=0.25)
    kept = np.mean([len(dataset.packed(1, rng(seed)).objects) == 5 for seed in range(400)])
    assert abs(kept - 0.25) < 0.09  # 4 standard deviations


def test_only_layers_with_an_object_are_decoded(packed):
    path = packed / "train" / "masks" / "b.pickle"
    pictures, mapping = pickle.loads(path.read_bytes())
    pictures[2] = np.frombuffer(b"no picture", np.uint8)
    path.write_bytes(pickle.dumps((pictures, mapping)))
    assert areas(COCOLVISClicks(str(packed)).sample(1, rng())) == {0: 16, 1: 4, 2: 2}
    with pytest.raises(DataError, match="layer 2: cannot be decoded"):
        COCOLVISClicks(str(packed), stuff_prob=1.0).sample(1, rng())


def test_allow_list(packed):
    (packed / "train" / "some.json").write_text('["b", "z"]')
    assert list(COCOLVISClicks(str(packed), allow_list="some.json").ids) == ["b"]
    (packed / "train" / "some.json").write_text('["z"]')
    with pytest.raises(DataError, match="no images of those in"):
        COCOLVISClicks(str(packed), allow_list="some.json")
    (packed / "train" / "some.json").write_text("[")
    with pytest.raises(DataError, match="no JSON list"):
        COCOLVISClicks(str(packed), allow_list="some.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[: len(c) // 2], "breaks off"),
        (lambda c: b"", "empty"),
        (lambda c: pickle.dumps([1, 2, 3]), "expected"),
        (lambda c: pickle.dumps(([encoded(np.ones((6, 8)))], [(0, 0)] * 3)), r"object 0 is value 0 of layer 0"),
        (lambda c: pickle.dumps(([encoded(np.ones((6, 8)))], [(0, 1), (1, 1), (0, 2)])), "there are 1 layers"),
        (lambda c: pickle.dumps(([encoded(np.ones((6, 8)))], [(0, 1), (0, 1), (0, 2)])), "the same layer and value"),
        (lambda c: pickle.dumps(([encoded(np.ones((6, 8)))], [(0, 1)])), "1 objects, but the hierarchy has 3"),
        (lambda c: pickle.dumps(([np.ones(4)], [(0, 1)])), "array of f8, not of bytes"),
        (lambda c: pickle.dumps(([encoded(np.ones((5, 8)))], [(0, 1), (0, 2), (0, 3)])), "mask of 8x5 pixels"),
        (lambda c: pickle.dumps(([encoded(np.ones((6, 8, 3)))], [(0, 1), (0, 2), (0, 3)])), "layers are grey"),
    ],
)
def test_files_that_cannot_be_used(packed, change, message):
    path = packed / "train" / "masks" / "b.pickle"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as found:
        COCOLVISClicks(str(packed)).sample(1, rng())
    assert "b.pickle" in str(found.value)


def test_hierarchies_that_cannot_be_used(packed):
    path = packed / "train" / "hannotation.pickle"
    for entry in (
        {"num_instance_masks": 1},
        {"num_instance_masks": 1, "hierarchy": {5: None}},
        {"num_instance_masks": 2, "hierarchy": {0: None, 1: {"parent": 7, "children": []}}},
        {"num_instance_masks": 2, "hierarchy": {1: {"parent": 0, "children": []}}},
        ["no mapping"],
    ):
        path.write_bytes(pickle.dumps({"a": entry}))
        with pytest.raises(DataError, match=r"hannotation\.pickle, image a"):
            COCOLVISClicks(str(packed))
    path.unlink()
    with pytest.raises(DataError, match=r"hannotation\.pickle: No such file"):
        COCOLVISClicks(str(packed))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/segkit_hostile_pickle",)


class Evaluates:
    def __reduce__(self):
        return eval, ("__import__('os').environ.update(SEGKIT_HOSTILE='1')",)


@pytest.mark.parametrize("guest", [Hostile(), Evaluates(), os.system, np.array([Hostile()], object)])
def test_a_hostile_pickle_runs_nothing(tmp_path, guest):
    path = tmp_path / "masks.pickle"
    path.write_bytes(pickle.dumps(([guest], [(0, 1)])))
    with pytest.raises(DataError, match="no pickle of published annotations"):
        load_layers(path)
    assert "SEGKIT_HOSTILE" not in os.environ and not os.path.exists("/tmp/segkit_hostile_pickle")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_of_bytes_in_every_protocol(tmp_path, protocol):
    path = tmp_path / "masks.pickle"
    picture = encoded(np.arange(48).reshape(6, 8))
    path.write_bytes(pickle.dumps(([picture, picture[:, None].copy()], [(0, 1), (1, np.int64(255))]), protocol))
    pictures, mapping = load_layers(path)
    assert pictures == [picture.tobytes()] * 2 and mapping == [(0, 1), (1, 255)]


# the index


def test_index_file_is_whole_or_made_anew(tmp_path, cache):  # noqa: F811
    records = [b"", b"one", b"\0" * 11]
    path = tmp_path / "x.index"
    write_index(path, iter(records))
    for index in (open_index(path), pickle.loads(pickle.dumps(open_index(path))), in_memory(records)):
        assert list(index) == records and index[-1] == records[-1] and len(index) == 3
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="no whole index"):
        open_index(path)
    source = tmp_path / "source"
    source.write_text("1")
    made = []

    def make():
        made.append(1)  # by a process of its own: not seen here
        yield source.read_bytes()

    def get():
        return list(cached_index([source], "test", make, keep=True))

    assert get() == [b"1"] and len(list(cache.rglob("*.index"))) == 1 and not made
    file = next(cache.rglob("*.index"))
    file.write_bytes(b"broken off")
    assert get() == [b"1"] and file.stat().st_size > 40
    source.write_text("two")
    assert get() == [b"two"] and not list(cache.rglob("*.part"))


def test_an_error_while_the_index_is_made_is_told(tmp_path):
    source = tmp_path / "source"
    source.write_text("1")

    def make():
        yield b"1"
        raise DataError("source: line 3 is wrong")

    with pytest.raises(DataError, match="line 3 is wrong"):
        cached_index([source], "test", make, keep=True)
    with pytest.raises(DataError, match="No such file"):
        cached_index([tmp_path / "none"], "test", make)


def test_a_cache_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("1")
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(DataError, match="set SEGKIT_CACHE"):
        cached_index([tmp_path / "file"], "test", lambda: iter([b"1"]), keep=True)


# the conversion


@pytest.fixture
def both(tmp_path):
    """Image 1 of 40x60 in LVIS train and COCO panoptic train2017; image 2 of LVIS alone, 3 too small for both."""
    ids = np.zeros((40, 60), np.int64)
    ids[:, 50:] = 9  # stuff, 10 columns
    ids[0:20, 0:20] = 5  # thing, the same as LVIS 1
    ids[22:40, 0:10] = 6  # thing of COCO alone
    ids[30:40, 12:22] = 70000  # crowd
    ids[0:2, 30:32] = 8  # thing of 4 pixels
    picture = np.stack([ids >> 16, (ids >> 8) & 255, ids & 255], axis=2).astype(np.uint8)
    labels = tmp_path / "coco" / "annotations" / "panoptic_train2017"
    labels.mkdir(parents=True)
    segments = [{"id": n, "category_id": 1, "iscrowd": int(n == 70000)} for n in (5, 6, 70000, 8)]
    segments.append({"id": 9, "category_id": 2, "iscrowd": 0})
    entries = []
    for name, own in {"1": segments, "3": segments[3:4]}.items():
        cv2.imwrite(str(labels / f"{name}.png"), picture)
        entries.append({"file_name": f"{name}.png", "segments_info": own})
        write_image(tmp_path / "coco" / "train2017" / f"{name}.jpg", (40, 60))
    content = {"annotations": entries, "categories": [{"id": 1, "isthing": 1}, {"id": 2, "isthing": 0}]}
    labels.with_suffix(".json").write_text(json.dumps(content))
    polygons = [
        (1, box(0, 0, 19, 19)),  # = thing 5
        (1, box(2, 2, 11, 11)),  # its part
        (1, box(45, 0, 54, 29)),  # over half of the stuff
        (1, box(45, 0, 54, 28)),  # nearly the same: the earlier one goes
        (1, box(30, 30, 33, 33)),  # 16 pixels
        (2, box(0, 0, 19, 19)),
        (3, box(0, 0, 3, 3)),
    ]
    images = [{"id": n, "height": 40, "width": 60, "coco_url": f"http://x/train2017/{n}.jpg"} for n in (1, 2, 3)]
    entries = [{"id": i, "image_id": n, "category_id": 1, "segmentation": s} for i, (n, s) in enumerate(polygons)]
    (tmp_path / "lvis").mkdir()
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "lvis" / "lvis_v1_train.json").write_text(json.dumps(content))
    return tmp_path


def test_conversion_by_hand(both):
    command = ["prepare", "coco_lvis", "--coco", str(both / "coco"), "--lvis", str(both / "lvis")]
    assert main([*command, "--out", str(both / "out"), "--split", "train", "--jobs", "2"]) == 0
    annotations = pickle.loads((both / "out" / "train" / "hannotation.pickle").read_bytes())
    assert list(annotations) == ["1"] and annotations["1"]["num_instance_masks"] == 5
    # COCO 6 and the crowd, then LVIS 0, 1 and 3; 1 is a part of 0
    nodes = annotations["1"]["hierarchy"]
    assert nodes[0] is None and nodes[1] is None and nodes[4] is None
    assert nodes[2] == {"children": [3], "parent": None, "node_level": 0}
    assert nodes[3] == {"children": [], "parent": 2, "node_level": 1}
    sample = COCOLVISClicks(str(both / "out"), stuff_prob=1.0).sample(0, rng())
    # stuff: 400 pixels without the 5 x 29 that LVIS 3 covers are 255, not more than 500: left out
    assert areas(sample) == {0: 180, 1: 100, 2: 400, 3: 100, 4: 290}
    assert np.array_equal(of(sample, 4), drawn(45, 0, 55, 29, (40, 60)))
    assert (both / "out" / "train" / "images" / "1.jpg").is_symlink()
    layers, _ = pickle.loads((both / "out" / "train" / "masks" / "1.pickle").read_bytes())
    assert all(isinstance(layer, np.ndarray) and layer.dtype == np.uint8 for layer in layers)
    assert not list(both.rglob("*.part"))


def test_overlap_and_stuff_limits(both, monkeypatch):
    coco = [drawn(0, 0, 20, 20, (40, 60))]
    lvis = [drawn(0, 0, 20, 15, (40, 60))]  # IoU .75
    assert len(coco_lvis.merged(coco, lvis, 0.70)) == 1 and len(coco_lvis.merged(coco, lvis, 0.80)) == 2
    monkeypatch.setattr(coco_lvis, "MIN_STUFF_AREA", 254)
    coco_lvis.prepare(both / "coco", both / "lvis", both / "out", split="train")
    sample = COCOLVISClicks(str(both / "out"), stuff_prob=1.0).sample(0, rng())
    assert areas(sample)[5] == 255 and 5 in sample["objects"]
    for wrong in (0, 1.1):
        with pytest.raises(DataError, match="overlap"):
            coco_lvis.prepare(both / "coco", both / "lvis", both / "o", split="train", overlap=wrong)


def test_sources_that_do_not_fit(both):
    (both / "lvis" / "lvis_v1_train.json").write_text(
        (both / "lvis" / "lvis_v1_train.json").read_text().replace('"height": 40', '"height": 41')
    )
    with pytest.raises(DataError, match=r"1\.png: 60x40 pixels; LVIS says 60x41"):
        coco_lvis.prepare(both / "coco", both / "lvis", both / "out", split="train")
    assert (both / "out" / "train" / "hannotation.part").is_file()  # what is done is kept
    with pytest.raises(DataError, match="begun with other options"):
        coco_lvis.prepare(both / "coco", both / "lvis", both / "out", split="train", overlap=0.8)


def test_an_interrupted_run_goes_on(tmp_path):
    names, calls = [str(i) for i in range(6)], []

    def work(name):
        calls.append(name)
        if name == "4" and len(calls) < 6:
            raise KeyboardInterrupt
        return [int(name)]

    path = tmp_path / "x.part"
    journal = jobs.Journal(path, {"set": "x"})
    with pytest.raises(KeyboardInterrupt):
        jobs.run_jobs(names, work, journal, processes=1, label="x")
    journal.close(is_finished=False)
    path.write_text(path.read_text() + '["5", [9')  # a line that broke off
    journal = jobs.Journal(path, {"set": "x"})
    assert journal.done == {n: [int(n)] for n in "0123"}
    found = jobs.run_jobs(names, work, journal, processes=1, label="x")
    assert found == {n: [int(n)] for n in names} and calls == list("012344") + ["5"]
    journal.close(is_finished=True)
    assert not path.exists()


def test_finished_images_are_not_made_again(both, monkeypatch):
    arguments = (both / "coco", both / "lvis", both / "out")
    done = []
    convert = coco_lvis.convert_image

    def count(name, sources):
        done.append(name)
        if name == "3" and len(done) < 3:
            raise DataError("stop")
        return convert(name, sources)

    monkeypatch.setattr(coco_lvis, "convert_image", count)
    with pytest.raises(DataError, match="stop"):
        coco_lvis.prepare(*arguments, split="train")
    (both / "out" / "train" / "masks" / "1.pickle").unlink()  # in the journal, but gone
    coco_lvis.prepare(*arguments, split="train")
    assert done == ["1", "3", "1", "3"]
    path = coco_lvis.prepare(*arguments, split="train")  # finished: nothing is read
    assert done == ["1", "3", "1", "3"] and path.is_file()


def test_processes_agree_with_one(tmp_path):
    names = [str(i) for i in range(20)]
    found = []
    for processes in (1, 2):
        journal = jobs.Journal(tmp_path / f"{processes}.part", {})
        work = (lambda factor: lambda name: int(name) * factor)(3)
        found.append(jobs.run_jobs(names, work, journal, processes=processes, label=""))
        journal.close(is_finished=True)
    assert found[0] == found[1] == {n: 3 * int(n) for n in names}
    assert not multiprocessing.active_children()


def test_open_images_list(tmp_path):
    place = tmp_path / "val"
    for name in ("x", "y"):
        write_image(place / "images" / f"{name}.jpg")
    for name in ("x_1.png", "x_2.png", "z_1.png"):
        write_image(place / "masks" / name)
    table = "MaskPath,ImageID,LabelName\nx_2.png,x,/m/1\nz_1.png,z,/m/1\ny_1.png,y,/m/1\nx_1.png,x,/m/2\n"
    (place / "val-annotations-object-segmentation.csv").write_text(table)
    assert main(["prepare", "openimages", "--root", str(tmp_path), "--split", "val", "--jobs", "1"]) == 0
    path = place / "val-annotations-object-segmentation_clean.pkl"
    expected = {"image_id_to_masks": {"x": ["x_2.png", "x_1.png"]}, "dataset_samples": ["x"]}
    assert load_published(path) == expected == pickle.loads(path.read_bytes())


def test_ade20k_list(tmp_path):
    from scipy.io import savemat

    names = np.array(["ADE_train_1.jpg", "ADE_val_1.jpg"], object)
    folders = np.array([f"ADE20K_2016_07_26/images/{split}/s/street" for split in ("training", "validation")], object)
    savemat(tmp_path / "index_ade20k.mat", {"index": {"filename": names, "folder": folders}})
    folder = tmp_path / "images" / "training" / "s" / "street"
    for name in ("ADE_train_1_seg.png", "ADE_train_1_parts_1.png"):
        write_image(folder / name)
    path = folder / "ADE_train_1_atr.txt"
    path.write_text(
        '001 # 0 # 0 # car, auto # car # ""\n002 # 0 # 0 # sidewalk, pavement # x # ""\n001 # 1 # 0 # wheel # w # ""\n'
    )
    command = ["prepare", "ade20k", "--root", str(tmp_path), "--split", "train", "--jobs", "1"]
    assert main(command) == 0
    made = tmp_path / "train-annotations-object-segmentation.pkl"
    layers = load_published(made)["ADE_train_1"]["layers"]
    assert load_published(made)["ADE_train_1"]["folder"] == "images/training/s/street"
    assert [layer["mask_name"] for layer in layers] == ["ADE_train_1_seg.png", "ADE_train_1_parts_1.png"]
    assert layers[0]["object_instances"] == [1] and layers[0]["stuff_instances"] == [2]
    assert layers[0]["instance_to_class"] == {1: ["car", "auto"], 2: ["sidewalk", "pavement"]}
    assert layers[1]["object_instances"] == [1] and {"sky", "street lamp", "hay bale"} < STUFF and len(STUFF) == 63
    made.unlink()
    path.write_text("001 # 7 # 0 # car # car")
    assert main(command) == 2


def test_sbd_list(tmp_path, capsys):
    (tmp_path / "val.txt").write_text("a\nb\n")
    write_inst(tmp_path / "inst" / "a.mat", rows(2, 1, 0))
    assert main(["prepare", "sbd", "--root", str(tmp_path), "--jobs", "1"]) == 2
    assert "1 of 2 files are missing: b" in capsys.readouterr().err
    write_inst(tmp_path / "inst" / "b.mat", rows(4, 0))
    assert main(["prepare", "sbd", "--root", str(tmp_path), "--jobs", "1"]) == 0
    assert pickle.loads((tmp_path / "val_images_and_ids_list.pkl").read_bytes()) == [("a", 1), ("a", 2), ("b", 4)]
    assert main(["prepare", "sbd", "--root", str(tmp_path), "--split", "test"]) == 2
