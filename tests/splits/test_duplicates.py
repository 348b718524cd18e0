"""Near duplicates: copies are found, different photographs are not, the search misses nothing, the cache is kept."""

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segkit.cli.main import main
from segkit.data.semantic.folder import Folder
from segkit.data.splits.image_hash import Look, LookBook, look
from segkit.data.splits.near_duplicates import bit_distances, near_pairs, quick_search
from segkit.readers.python_config import dump

DATA = Path(os.environ.get("SEGKIT_DATA", "data"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def photograph(seed, size=(120, 160)):
    """Blots of all sizes, which have the spectrum of photographs."""
    rng, image = np.random.default_rng(seed), np.zeros((*size, 3), np.float32)
    for cells in (3, 6, 12, 24, 48):
        image += (
            cv2.resize(rng.random((cells, cells, 3), np.float32), size[::-1], interpolation=cv2.INTER_CUBIC) / cells
        )
    image -= image.min()
    return (image * (255 / image.max())).astype(np.uint8)


def as_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


COPIES = {
    "JPEG of quality 30": lambda image: as_jpeg(image, 30),
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter by 10": lambda image: np.clip(image.astype(int) + 10, 0, 255).astype(np.uint8),
    "16 bits": lambda image: image.astype(np.float32) * 257,
}


def check_copies(images):
    """Every copy is found, and nothing but copies."""
    looks = {name: look(image) for name, image in images.items()}
    assert near_pairs(looks, looks) == []
    for change in COPIES.values():
        pairs = near_pairs(looks, {f"copy of {name}": look(change(image)) for name, image in images.items()})
        assert sorted(pair.first for pair in pairs) == sorted(images)
        assert all(pair.second == f"copy of {pair.first}" for pair in pairs)


def test_copies_are_found_and_nothing_else():
    check_copies({str(seed): photograph(seed) for seed in range(40)})


@pytest.mark.skipif(not (DATA / "GrabCut").is_dir(), reason="needs GrabCut")
def test_copies_of_grabcut_are_found_and_no_two_of_its_images_are_alike():
    files = sorted((DATA / "GrabCut" / "data_GT").iterdir())
    images = {path.name: cv2.resize(np.array(Image.open(path).convert("RGB")), (320, 240)) for path in files}
    assert len(images) == 50
    check_copies(images)


def test_the_search_equals_that_of_all_pairs():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 300).astype(np.uint64)
    others = bits.copy()
    for i in range(len(others)):
        for bit in rng.choice(64, int(rng.integers(0, 24)), replace=False):
            others[i] ^= np.uint64(1 << int(bit))
    thumb = np.arange(256).astype(np.int8)
    first, second = (
        {f"{n}{i}": Look(int(b), thumb, "") for i, b in enumerate(of)} for n, of in (("a", bits), ("b", others))
    )
    apart = np.array([[bin(int(a) ^ int(b)).count("1") for b in others] for a in bits])
    assert np.array_equal(bit_distances(bits, others), np.diag(apart))
    for distance in (0, 3, 10, 15):
        wanted = {(f"a{i}", f"b{j}") for i, j in np.argwhere(apart <= distance)}
        assert {(pair.first, pair.second) for pair in near_pairs(first, second, distance)} == wanted
        assert len(wanted) > 3


def test_flat_images_are_alike_only_byte_by_byte():
    black, grey = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 90, np.uint8)
    looks = {"a": look(black, "1"), "b": look(grey, "2")}
    (pair,) = near_pairs(looks, {"c": look(black, "1"), "d": look(grey, "3")})
    assert (pair.first, pair.second, pair.is_equal) == ("a", "c", True)


def test_an_equal_hash_of_another_picture_is_no_pair():
    """Thumbnails of stripes along and across have a correlation of 0."""
    stripes = np.tile(np.where(np.arange(16) % 2, 32, -32).astype(np.int8), (16, 1))
    along, across = Look(5, stripes.reshape(-1), ""), Look(5, stripes.T.reshape(-1), "")
    assert near_pairs({"a": along}, {"b": across}) == []
    assert len(near_pairs({"a": along}, {"b": along})) == 1


def folder(root, names):
    for name, image in names.items():
        for kind, content in (("images", image), ("masks", np.zeros(image.shape[:2], np.uint8))):
            content[:5] = 1 if kind == "masks" else content[:5]
            path = root / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return root


def leaking(tmp_path):
    """Of three images of val one is a copy under another name, one a frame after one of train, one new."""
    train = {f"scene{i}_000": photograph(i) for i in range(6)}
    val = {
        "x": train["scene4_000"].copy(),
        "scene2_001": COPIES["brighter by 10"](train["scene2_000"]),
        "y": photograph(9),
    }
    return folder(tmp_path / "train", train), folder(tmp_path / "val", val)


def config(tmp_path):
    from tests.tiny import sections

    train, val = leaking(tmp_path)
    cfg = sections()
    for section, root in (("train", train), ("val", val)):
        cfg[section]["dataset"] = dict(type="Folder", root=str(root), classes=["ground", "sky"])
    cfg["model"]["num_classes"] = 2
    cfg["loop"]["steps"] = 1
    (tmp_path / "c.py").write_text(dump(cfg))
    return str(tmp_path / "c.py")


def test_a_quick_search_finds_neighbours_and_copies_and_keeps_its_looks(tmp_path, monkeypatch):
    train, val = (Folder(str(root), ["ground", "sky"]) for root in leaking(tmp_path))
    book = LookBook()
    found = quick_search(train, val, book)
    assert found.looked == 3
    assert [Path(pair.second).stem for pair in found.pairs] == ["x", "scene2_001"] and found.pairs[0].is_equal
    assert len(list(book.folder.glob("*.json"))) == 2
    monkeypatch.setattr(Folder, "image", None)  # nothing is read again
    assert quick_search(train, val, book) == found
    # a file that has changed is looked at again
    monkeypatch.undo()
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    Image.fromarray(photograph(77)).save(val.path(val.ids.index("x")))
    assert [Path(pair.second).stem for pair in quick_search(train, val, book).pairs] == ["scene2_001"]


def test_the_command_names_and_draws_the_pairs(tmp_path, capsys):
    path = config(tmp_path)
    assert main(["analyze", "duplicates", path, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "train and val: 2 of 3 images of val look like one of the 6 of train, 1 of them equal byte by byte" in out
    assert "scene2_000.png" in out and "scene2_001.png" in out
    (result,) = json.loads((tmp_path / "out" / "duplicates.json").read_text())["results"]
    assert [pair["is_equal"] for pair in result["pairs"]] == [True, False] and result["images"] == [6, 3]
    assert np.array(Image.open(tmp_path / "out" / "duplicates.png")).shape[0] > 300  # two rows of pictures
    assert "files in both sections" not in out and result["shared"] == []
    assert main(["analyze", "duplicates", path, "--distance", "16"]) == 2
    assert "--distance 16: must lie between 0 and 15" in capsys.readouterr().err


def test_one_file_in_two_sections_is_told_apart_from_copies(tmp_path, capsys):
    path = Path(config(tmp_path))
    path.write_text(path.read_text() + "\ntest = dict(dataset=val['dataset'])\n")
    assert main(["analyze", "duplicates", str(path), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "val and test: 0 of 3 images of test look like one of the 3 of val" in out
    results = json.loads((tmp_path / "out" / "duplicates.json").read_text())["results"]
    (shared,) = [one["shared"] for one in results if one["sections"] == ["val", "test"]]
    assert len(shared) == 3 and f"files in both sections: 3, such as {shared[0]}" in out


def test_the_check_before_training_notes_them(tmp_path, capsys):
    assert main(["train", config(tmp_path), "--check", "--device", "cpu"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "near duplicates" in line]
    assert line.startswith("val: warning: 2 of 3 images looked at are near duplicates of images of train (")


def test_lists_of_a_split_are_written_once(tmp_path, capsys):
    train, _ = leaking(tmp_path)
    words = [
        "prepare",
        "splits",
        str(train),
        "--out",
        str(train / "splits"),
        "--ratios",
        ".5",
        ".5",
        "--by",
        r"scene(\d)",
    ]
    assert main(words) == 0 and "6 groups by" in capsys.readouterr().out
    assert (
        (train / "splits" / "val.txt").read_text().startswith("# val: 3 images; segkit prepare splits --ratios 0.5 0.5")
    )
    parts = [Folder(str(train), ["ground", "sky"], split=split).ids for split in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == [f"scene{i}_000" for i in range(6)]
    assert main([*words, "--seed", "1"]) == 2 and "holds another split" in capsys.readouterr().err
    assert main([*words, "--seed", "1", "--overwrite"]) == 0
    folds = [*words[:5], "--folds", "2"]
    assert main(folds) == 0
    (first, second) = (
        (train / "splits" / f"fold0_{part}.txt").read_text().split("\n", 1)[1] for part in ("train", "val")
    )
    assert sorted((first + second).split()) == sorted(parts[0] + parts[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ratios", ".8", ".1"], "--ratios = [0.8, 0.1]: the sum is 0.9, not 1"),
        (["--ratios", "1", "0"], "leaves 'val' empty"),
        (["--folds", "7"], "--folds 7: must lie between 2 and 6"),
        (["--stratify"], "is a folder, whose classes no config names"),
        (["--seed", "-1"], "--seed -1: must be 0 or more"),
        (["--by", "scene"], "1 groups by 'scene' for 3 parts"),
    ],
)
def test_splits_that_do_not_fit(tmp_path, capsys, words, message):
    train, _ = leaking(tmp_path)
    assert main(["prepare", "splits", str(train), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_images_whose_names_begin_as_comments_stay_in_their_part(tmp_path):
    for number in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"#{number}.png"), np.full((4, 5), number, np.uint8))
    assert main(["prepare", "splits", str(tmp_path), "--out", str(tmp_path / "splits"), "--folds", "2"]) == 0
    parts = [
        Folder(str(tmp_path), ["image"], masks=None, split=str(tmp_path / "splits" / f"fold0_{part}.txt")).ids
        for part in ("train", "val")
    ]
    assert [len(part) for part in parts] == [2, 2] and sorted(parts[0] + parts[1]) == ["#0", "#1", "#2", "#3"]
