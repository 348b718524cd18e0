"""FasterSeg beyond the authors' numbers: genotypes that are none, latency tables, widths, and the search."""

import copy
import json

import numpy as np
import pytest
import torch

from segkit import api
from segkit.archs._fasterseg_decode import SearchWeights, decode
from segkit.archs._fasterseg_genotype import Branch, Genotype, load_genotype
from segkit.archs._fasterseg_latency import network_latency, network_operations
from segkit.archs._fasterseg_mixed import MixedOperation, gumbel_one_hot
from segkit.archs._fasterseg_operations import Fixed, Slim, operation
from segkit.archs.fasterseg_search import FasterSegSearch
from segkit.cli.main import main
from segkit.readers.genotype import published_genotypes
from segkit.readers.latency_table import LatencyTable, machine_of, read_latency_table, write_latency_table
from segkit.registry import ConfigError, build_model
from segkit.runners.search_latency import objective, weight_change

SMALL = dict(layers=6, base=3, widths=(4, 12), student_width=4)
PLAIN = dict(
    network="FasterSeg",
    base=3,
    stem_width=4,
    head_width=4,
    branches=[dict(operations=["conv", "conv_2x"], strides=[8, 16], widths=[8])],
)


def changed(path: str, value: object) -> dict:
    content = copy.deepcopy(PLAIN)
    *keys, last = path.split(".")
    inner = content
    for key in keys:
        inner = inner[int(key) if key.isdigit() else key]
    inner[int(last) if last.isdigit() else last] = value
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        (changed("network", "Auto-DeepLab"), r"no genotype of FasterSeg \(its network is 'Auto-DeepLab'\)"),
        ({}, "it names no network"),
        (changed("base", 0), "base = 0: must be a whole number from 1 to 1024"),
        (changed("head_width", 13), "head_width = 13: must be a whole number from 1 to 12"),
        (changed("branches", []), "must be a list of 1 to 3 branches"),
        (changed("branches.0", 3), r"branches.0 = 3: must be an object"),
        (changed("branches.0.operations.1", "conv5"), r"branches.0.operations.1 = 'conv5': must be one of skip, conv"),
        (changed("branches.0.operations.1", ["conv"]), r"branches.0.operations.1 = \['conv'\]"),
        (changed("branches.0.strides", [8, 32]), r"branches.0.strides = \[8, 32\]: must begin at 8"),
        (changed("branches.0.widths", [8, 8]), "2 operations, 2 strides and 2 widths"),
        (changed("branches.0.widths.0", True), "branches.0.widths.0 = True"),
        (changed("branches", [PLAIN["branches"][0]] * 2), r"end at strides \[16, 16\]; each must end at another one"),
        (changed("branches.0", dict(operations=["skip"], strides=[8], widths=[])), ""),
        (
            changed("branches.0", dict(operations=["skip", "conv"], strides=[8, 8], widths=[8])),
            "branches.0.operations.0 = 'skip': leaves its map as it is and cannot change 8 channels to 16",
        ),
    ],
)
def test_a_genotype_that_is_none_is_refused(content, message):
    if not message:
        assert load_genotype(content).branches[0].operations == ("skip",)
        return
    with pytest.raises(ConfigError, match=message):
        load_genotype(content)


@pytest.mark.parametrize(
    "text, message",
    [("[]", "is \\[\\], not a genotype"), ("{", "no valid JSON"), ('{"a": 1, "a": 2}', "stands twice")],
)
def test_a_file_that_is_no_genotype_is_refused(tmp_path, text, message):
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_genotype(str(tmp_path / "g.json"))
    with pytest.raises(ConfigError, match=r"[Nn]o such file"):
        load_genotype(str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match="did you mean 'fasterseg_student'"):
        load_genotype("fasterseg_studnt")
    assert published_genotypes() == ["fasterseg_student", "fasterseg_teacher"]


def test_branches_share_cells_until_they_differ():
    long = Branch(("conv", "conv", "conv"), (8, 8, 16), (4, 4))
    short = Branch(("conv", "conv"), (8, 8), (4,))
    assert Genotype(3, 4, 4, (long, short)).groups() == [[[0, 1]], [[0], [1]], [[0]]]
    other = Branch(("conv", "conv"), (8, 8), (8,))
    assert Genotype(3, 4, 4, (long, other)).groups() == [[[0], [1]], [[0], [1]], [[0]]]


def weights(layers: int = 6) -> SearchWeights:
    """All equal: the first operation after skip is excluded wins ties by its place."""
    return SearchWeights(
        tuple(torch.zeros(layers - s, 5) for s in range(3)),
        tuple(torch.zeros(layers - 1 - s, 2) for s in (1, 2)),
        tuple(torch.zeros(layers - max(s, 1), 3) for s in range(3)),
    )


def test_decoding_by_hand():
    w = weights()
    for alphas in w.alphas:
        alphas[:, 3] = 1.0
    w.ratios[0][:, 1] = 1.0
    # to stride 16: the largest weight of a way down among layers 1 and 2 of 0..3 is that of layer 2
    w.betas[0][2, 0] = 1.0
    found = decode(w, (4, 8, 12))
    assert found[8] == Branch(("conv_2x",) * 6, (8,) * 6, (8,) * 5)
    assert found[16].strides == (8, 8, 8, 16, 16, 16)
    assert found[16].widths == (8, 8, 4, 4, 4)


def test_decoding_leaves_skips_out_but_not_all():
    w = weights(9)
    for alphas in w.alphas:
        alphas[:, 0], alphas[:, 2] = 2.0, 1.0
    w.alphas[0][4, 0] = 1.5
    found = decode(w, (4, 8, 12))[8]
    # nine cells, of which a third must stay: those with the smallest weight of skip, by the next operation
    assert found.operations == ("conv_downup",) * 3
    assert len(found.widths) == 2
    teacher = decode(w, (12,) * 3, skips=False)[8]
    assert teacher.operations == ("conv_downup",) * 9


@pytest.mark.parametrize("name", ["skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_slimmable_operation_at_full_width_is_the_plain_one(name, stride):
    torch.manual_seed(0)
    plain = operation(name, 24, 24 * stride, stride, Fixed())
    slim = operation(name, 24, 24 * stride, stride, Slim((4, 8, 12)))
    own = slim.state_dict()
    slim.load_state_dict(own | {key: value for key, value in plain.state_dict().items() if key in own})
    x = torch.randn(2, 24, 12, 16)
    assert torch.allclose(slim.eval()(x, 2), plain.eval()(x), atol=1e-6)
    for width in range(3):
        out = slim(x[:, :8], width)
        assert out.shape == (2, 8 * (1, 2, 3)[width] * stride, 12 // stride, 16 // stride)


def test_a_slimmable_operation_is_the_first_channels_of_the_wide_one():
    slim = operation("conv", 24, 24, 1, Slim((4, 8, 12))).eval()
    x = torch.randn(1, 8, 6, 6)
    by_hand = torch.nn.functional.conv2d(x, slim.conv1.weight[:16, :8], padding=1).relu()
    assert torch.allclose(slim(x, 1), by_hand / (1 + 1e-5) ** 0.5, atol=1e-6)


def test_gumbel_draws_by_the_probabilities_and_lets_gradients_through():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, -1.0], requires_grad=True)
    drawn = torch.stack([gumbel_one_hot(logits) for _ in range(4000)])
    assert torch.equal(drawn.detach().round().sum(1), torch.ones(4000))
    assert torch.allclose(drawn.mean(0).detach(), logits.softmax(0), atol=0.03)
    drawn[0, 1].backward()
    assert logits.grad.abs().sum() > 0


def test_the_search_network_with_one_operation_equals_that_operation():
    mixed = MixedOperation(24, 24, 1, (4, 12)).eval()
    x = torch.randn(1, 24, 8, 8)
    from segkit.archs._fasterseg_mixed import Choice

    out = mixed(x, torch.tensor([0.0, 0, 0, 1, 0]), Choice(1), Choice(1))
    assert torch.allclose(out, mixed.operations[3](x, 1))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(layers=5), "layers = 5: must be 6 or more"),
        (dict(widths=(8, 4, 12)), "must rise, in twelfths, to 12"),
        (dict(base=2, widths=(4, 12), student_width=4), "base x width must be a multiple of 12"),
        (dict(student_width=5), "student_width = 5: must be one of widths"),
        (dict(passes=("teacher.sampled",)), "passes.0 = 'teacher.sampled'"),
        (dict(passes=("student.widest",) * 2), "passes.1 = 'student.widest'"),
        (dict(passes=()), "name at least one"),
    ],
)
def test_a_search_network_that_cannot_be(arguments, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        FasterSegSearch(**arguments)


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"an image of 64 x 48 pixels: .* multiples of 32"):
        FasterSegSearch(**SMALL)(torch.zeros(1, 3, 64, 48))


def test_the_table_of_a_search_holds_all_that_is_looked_up():
    """The expected latency of an even network of one width by hand, and every network that can be found."""
    with torch.device("meta"):
        network = FasterSegSearch(**SMALL)
    names = [timed.name for timed in network.timed((64, 64), 6)]
    assert len(names) == len({*names})
    table = LatencyTable(dict.fromkeys(names, 1.0), {}, "a test")
    torch.manual_seed(0)
    for _ in range(5):
        w = [torch.randn(p.shape) for p in network.networks["student"].parameters()]
        branches = decode(SearchWeights(tuple(w[:3]), tuple(w[3:5]), tuple(w[5:])), (4, 12))
        for lasts in ((32, 16), (32, 8), (16,)):
            found = Genotype(3, 4, 4, tuple(branches[last] for last in lasts))
            assert network_latency(found, table, (64, 64), 6) == len(network_operations(found, (64, 64), 6))
    real = FasterSegSearch(**SMALL)
    # 3 operations of a stem, and 6 cells to each of three strides; an operation takes 1, whichever is chosen
    assert float(real.latency("teacher", table, (64, 64)).detach()) == pytest.approx(3 * (3 + 6), rel=1e-5)
    with pytest.raises(ConfigError, match="this latency table has no operation 'conv3x3 3->12 stride 2 on 96x96'"):
        real.latency("teacher", table, (96, 96))


def test_the_latency_pulls_towards_what_is_fast():
    network = FasterSegSearch(**SMALL)
    names = [timed.name for timed in network.timed((64, 64), 6)]
    times = {name: 0.1 if name.startswith("conv ") else 1.0 for name in names}
    network.expected_latency(LatencyTable(times, {}, "a test"), (64, 64)).backward()
    gradient = network.networks["student"].alphas[0].grad
    assert (gradient[:, 1] < 0).all() and (gradient[:, [0, 2, 3, 4]] > 0).all()


def test_a_table_of_another_machine_is_refused(tmp_path):
    path = write_latency_table(tmp_path / "t.json", {"conv": 1.5}, "cpu")
    assert read_latency_table(path)["conv"] == 1.5
    content = json.loads(path.read_text())
    assert content["machine"] == machine_of("cpu") and content["machine"]["threads"] == torch.get_num_threads()
    for key, value in (("device", "GTX 1080 Ti"), ("torch", "1.1"), ("threads", 99)):
        path.write_text(json.dumps({**content, "machine": {**content["machine"], key: value}}))
        with pytest.raises(ConfigError, match=rf"t\.json: .* measured on .*{value}.*benchmark CONFIG --operations"):
            read_latency_table(path)
        assert read_latency_table(path, any_machine=True)["conv"] == 1.5


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "no latency table"),
        ('{"machine": {}}', "no latency table"),
        ('{"machine": {}, "milliseconds": {"a": -1}}', "milliseconds.a = -1: must be a number of 0 or more"),
        ('{"machine": {}, "milliseconds": {"a": NaN}}', "milliseconds.a = nan"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_latency_table(tmp_path / "t.json", any_machine=True)


def test_the_choice_of_a_network():
    assert objective(0.06233587477048027, 6.4139770511337275) > objective(0.027548216556921325, 6.260467391822158)
    assert objective(0.5, 8.3) == 0.5
    assert [weight_change(v, (155, 175)) for v in ([160, 170], [150, 160], [150, 175], [155, 160])] == [1, 2, 0.5, 2]


def test_odd_sizes_and_one_branch():
    model = build_model(
        dict(
            num_classes=3,
            backbone=dict(type="FasterSegEncoder", genotype=PLAIN),
            head=dict(type="FasterSegHead"),
            aux=[dict(type="FasterSegAux", stride=16)],
            align_corners=True,
        )
    )
    outputs = model(torch.zeros(2, 3, 65, 97, dtype=torch.uint8))
    assert outputs["logits"].shape == (2, 3, 9, 13) and outputs["aux0.logits"].shape == (2, 3, 5, 7)
    with pytest.raises(ConfigError, match=r"stride 32: the encoder gives strides \[8, 16\] alone; remove this head"):
        build_model(
            dict(
                num_classes=3,
                backbone=dict(type="FasterSegEncoder", genotype=PLAIN),
                head=dict(type="FasterSegHead"),
                aux=[dict(type="FasterSegAux", stride=32)],
            )
        )


# the search --------------------------------------------------------------------------------------------------------


def shapes(split: str, length: int) -> dict:
    return dict(type="Shapes", instances=False, size=(64, 64), cache=True, split=split, length=length)


def search_config(steps: int, images: int = 16) -> dict:
    passes = ["teacher.widest", "student.sampled"]
    return dict(
        model=dict(
            num_classes=6,
            backbone=dict(type="FasterSegSearch", **SMALL, passes=passes),
            head=dict(type="FasterSegSearchHead", passes=passes),
            align_corners=True,
        ),
        losses=[dict(type="CrossEntropy", on="*.logits_*", target="mask")],
        train=dict(batch_size=4, workers=0, dataset=shapes("train", images)),
        val=dict(batch_size=4, workers=0, dataset=shapes("val", 4)),
        optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=5e-4),
        runner=dict(type="SearchWithLatency", table="latency.json", size=(64, 64), fps=None, lr=0.01),
        loop=dict(steps=steps, clip=5.0, log_every=1),
    )


def write_table() -> None:
    with torch.device("meta"):
        network = FasterSegSearch(**SMALL)
    names = [timed.name for timed in network.timed((64, 64), 6)]
    write_latency_table("latency.json", dict.fromkeys(names, 0.01), "cpu")


def student_config(steps: int, genotype: str, teacher: str | None = None) -> dict:
    cfg = search_config(steps)
    cfg["model"] = dict(
        num_classes=6,
        backbone=dict(type="FasterSegEncoder", genotype=genotype),
        head=dict(type="FasterSegHead"),
        align_corners=True,
    )
    cfg["losses"] = [dict(type="CrossEntropy", on="logits")]
    del cfg["runner"]
    if teacher is not None:
        cfg["runner"] = dict(type="Distillation", teacher=teacher)
        cfg["losses"] += [dict(type="KLDistillation", average="all", weight=1 / 6)]
    return cfg


@pytest.mark.slow
def test_a_short_search_writes_genotypes_that_train(tmp_path, monkeypatch):
    """The genotypes are those of the last checkpoint, and networks with them train, distilled, without their files."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"runner.table = 'latency.json': .*No such file"):
        api.train(search_config(1), "search", device="cpu")
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("genotype*"))
    write_table()
    start = build_model(search_config(1)["model"]).backbone
    result = api.train(search_config(1), "search", device="cpu")
    backbone = result.model.backbone
    moved = [not torch.equal(a, b) for a, b in zip(backbone.architecture(), start.architecture())]
    assert all(moved)
    found = {name: json.loads((tmp_path / "search" / name).read_text()) for name in backbone.genotypes("16_32")}
    assert found in [json.loads(json.dumps(backbone.genotypes(answer))) for answer in backbone.answers]
    api.train(student_config(1, "search/genotype_teacher.json"), "teacher", device="cpu")
    (tmp_path / "search/genotype_teacher.json").unlink()
    api.train(student_config(1, "search/genotype.json", "teacher/last.pt"), "student", device="cpu")
    (tmp_path / "search/genotype.json").unlink()
    student = api.load_model("student/last.pt")
    assert student.backbone.genotype == load_genotype(found["genotype.json"])
    labels = api.predict(student, np.zeros((64, 64, 3), np.uint8))["labels"]
    assert labels.shape == (64, 64)


def test_a_teacher_of_other_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = student_config(1, "fasterseg_student")
    cfg["model"]["backbone"]["genotype"] = PLAIN
    api.train(cfg, "teacher", device="cpu")
    other = student_config(1, "fasterseg_student", "teacher/last.pt")
    other["model"]["backbone"]["genotype"] = PLAIN
    other["model"]["num_classes"] = 5
    with pytest.raises(ConfigError, match=r"runner.teacher = 'teacher/last.pt': has 6 classes, the student 5"):
        api.train(other, "student", device="cpu")


def test_the_command_measures_what_a_search_looks_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.py").write_text("\n".join(f"{key} = {value!r}" for key, value in search_config(1).items()))
    assert main(["benchmark", "search.py", "--operations"]) != 0
    assert "give --out FILE" in capsys.readouterr().err
    assert main(["benchmark", "search.py", "--operations", "--steps", "1", "--out", "t.json", "--device", "cpu"]) == 0
    table = read_latency_table("t.json")
    with torch.device("meta"):
        timed = FasterSegSearch(**SMALL).timed((64, 64), 6)
    assert {*table.milliseconds} == {operation.name for operation in timed}
    cfg = student_config(1, "fasterseg_student")
    (tmp_path / "other.py").write_text("\n".join(f"{key} = {value!r}" for key, value in cfg.items()))
    assert main(["benchmark", "other.py", "--operations", "--out", "u.json"]) != 0
    assert "FasterSegEncoder is no search network" in capsys.readouterr().err
    assert not (tmp_path / "u.json").exists()


@pytest.mark.slow
def test_a_search_from_end_to_end(tmp_path, monkeypatch):
    """A search that prefers what is fast finds a faster network than it begins with, and that network learns."""
    monkeypatch.chdir(tmp_path)
    write_table()
    content = json.loads((tmp_path / "latency.json").read_text())
    for name in content["milliseconds"]:
        content["milliseconds"][name] = 1.0 if "conv_2x" in name else 0.1
    (tmp_path / "latency.json").write_text(json.dumps(content))
    cfg = search_config(60, images=80)
    cfg["runner"] |= dict(weight=100.0, lr=0.05)  # with 1 the cross entropy decides
    api.train(cfg, "search", device="cpu")
    branches = json.loads((tmp_path / "search/genotype.json").read_text())["branches"]
    assert not any("conv_2x" in name for branch in branches for name in branch["operations"])
    student = student_config(900, "search/genotype.json")
    student["train"] = dict(batch_size=8, workers=0, dataset=shapes("train", 200))
    student["optimizer"] = dict(type="AdamW", lr=5e-3)
    result = api.train(student, "student", device="cpu")
    assert api.evaluate(result.model, split="val", device="cpu")["mIoU"] > 15
