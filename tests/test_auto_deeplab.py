"""Auto-DeepLab beyond the published numbers: genotypes as files, what cells do, and a search whose result trains."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from segkit import api
from segkit.archs._auto_deeplab_cells import (
    Cell,
    DropPath,
    SameConv2d,
    SamePool2d,
    Zero,
    doubled,
    halved,
    operation,
    strided_operation,
)
from segkit.archs._auto_deeplab_genotype import (
    LEVELS,
    OPERATIONS,
    PAPER,
    SEARCHED_AGAIN,
    decode_cell,
    first_edge,
    normalized_betas,
    parse_genotype,
    read_genotype,
)
from segkit.archs.auto_deeplab import AutoDeepLab, AutoDeepLabResized
from segkit.archs.auto_deeplab_search import AutoDeepLabSearch, SearchCell
from segkit.cli.main import main
from segkit.registry import ConfigError
from tests.oracles import ROOT
from tests.tiny import sections


def changed(**entries) -> dict:
    return {**copy.deepcopy(PAPER.plain()), **entries}


def with_edge(edge: object) -> dict:
    content = copy.deepcopy(PAPER.plain())
    content["cell"][1][0] = edge
    return content


NO_GENOTYPES = [
    ([1, 2], r"is \[1, 2\], not a genotype"),
    ({"path": [0], "cell": []}, "it names no network"),
    (changed(network="FasterSeg"), "its network is 'FasterSeg'"),
    (changed(paths=[0]), "has an entry 'paths' that no genotype has; did you mean 'path'?"),
    (changed(path="0001"), "path = '0001': must be a list"),
    (changed(path=[]), "path has 0 levels"),
    (changed(path=[0] * 1001), "path has 1001 levels"),
    (changed(path=[0, 2]), "path.1 = 2: follows level 0, and a cell moves by one level at most"),
    (changed(path=[2]), "path.0 = 2: follows the stem's level 0"),
    (changed(path=[0, 1, 2, 3, 4]), "path.4 = 4: a level must be a whole number from 0 to 3"),
    (changed(path=[0, True]), "path.1 = True: a level must be a whole number"),
    (changed(path=[0, 1.0]), "path.1 = 1.0: a level must be a whole number"),
    (changed(cell=PAPER.plain()["cell"][:4]), "cell has 4 blocks; must have 5"),
    (changed(cell=[3, *PAPER.plain()["cell"][1:]]), "cell.0 = 3: a block must be a list of two edges"),
    (with_edge("sep_conv_3x3"), "cell.1.0 = 'sep_conv_3x3': an edge must be"),
    (with_edge([3, "sep_conv_3x3"]), "the input of this block must be a whole number from 0 to 2"),
    (with_edge([1, "sep_conv_3x4"]), "no such operation; .*did you mean 'sep_conv_3x3'?"),
    (with_edge([1, 5]), r"cell.1.0 = \[1, 5\]: no such operation"),
]


@pytest.mark.parametrize("content, message", NO_GENOTYPES)
def test_a_genotype_that_is_not_one(content, message, tmp_path):
    with pytest.raises(ConfigError, match=f"here: .*{message.replace('?', '.')}"):
        parse_genotype(content, "here")
    (tmp_path / "genotype.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"genotype\.json: "):
        AutoDeepLab(str(tmp_path / "genotype.json"))


def test_files_that_hold_no_genotype(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.json"):
        AutoDeepLab(str(tmp_path / "missing.json"))
    (tmp_path / "broken.json").write_text("{'path': ")
    with pytest.raises(ConfigError, match=r"broken\.json: no valid JSON"):
        read_genotype(tmp_path / "broken.json")


@pytest.mark.parametrize("genotype", [PAPER, SEARCHED_AGAIN])
def test_genotypes_travel_as_json(genotype, tmp_path):
    (tmp_path / "genotype.json").write_text(json.dumps(genotype.plain()))
    assert parse_genotype(read_genotype(tmp_path / "genotype.json"), "here") == genotype


def test_a_checkpoint_holds_the_genotype_and_not_its_path(tmp_path):
    file = tmp_path / "genotype.json"
    content = changed(path=[1, 0])
    file.write_text(json.dumps(content))
    cfg = sections()
    cfg["model"] = dict(
        num_classes=6,
        backbone=dict(type="AutoDeepLabResized", genotype=str(file), filters=1),
        head=dict(type="AutoDeepLabHead", channels=8, low_channels=4),
    )
    cfg |= dict(losses=cfg["losses"][:1], loop=dict(steps=1, eval_every=0), val=None)
    result = api.train(cfg, tmp_path / "out", device="cpu")
    file.unlink()
    assert cfg["model"]["backbone"]["genotype"] == str(file)
    model = api.load_model(str(result.last_checkpoint))
    assert model.backbone.genotype.plain() == content
    assert str(file) not in (tmp_path / "out/config.py").read_text()


def test_sizes_of_levels():
    assert halved((8, 9)) == (4, 5) and doubled((4, 5)) == (8, 9)
    assert halved((1, 2)) == (1, 1) and doubled((1, 2)) == (1, 4)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 7)])
def test_padding_is_tensorflows(size):
    """Pads (out - 1) 2 + kernel - n, the larger half at the end."""
    x = torch.randn(1, 1, *size)
    conv = SameConv2d(1, 1, 3, stride=2)
    pads = [((side + 1) // 2 - 1) * 2 + 3 - side for side in reversed(size)]
    padded = F.pad(x, [p for total in pads for p in (total // 2, total - total // 2)])
    assert torch.equal(conv(x), F.conv2d(padded, conv.weight, stride=2))
    assert conv(x).shape[2:] == halved(size)
    windows = F.pad(x, [p for total in pads for p in (total // 2, total - total // 2)], value=-torch.inf)
    assert torch.equal(SamePool2d("max", 2)(x), F.max_pool2d(windows, 3, 2))
    counted = F.pad(torch.ones_like(x), [p for total in pads for p in (total // 2, total - total // 2)])
    mean = F.avg_pool2d(padded, 3, 2) / F.avg_pool2d(counted, 3, 2)
    assert torch.allclose(SamePool2d("avg", 2)(x), mean, atol=1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_or_halves_the_size(name):
    x = torch.randn(2, 4, 7, 10)
    assert operation(name, 4)(x).shape == strided_operation(name, 4, 1)(x).shape == x.shape
    assert strided_operation(name, 4, 2)(x).shape == (2, 4, 4, 5)


def test_paths_are_dropped_more_often_the_longer_the_training_lasts():
    """After half of the passes an image is kept with probability 1 - .4 / 2, and then counts 1 / .8."""
    torch.manual_seed(0)
    drop, x = DropPath(0.4, steps=10), torch.ones(4000, 1, 1, 1)
    assert torch.equal(drop(x), x), "nothing at the start"
    drop.passes.fill_(5)
    values, counts = drop(x).unique(return_counts=True)
    assert torch.allclose(values, torch.tensor([0, 1 / 0.8])) and abs(int(counts[0]) / 4000 - 0.2) < 0.03
    drop.passes.fill_(1000)
    assert abs(float((drop(x) == 0).float().mean()) - 0.4) < 0.03
    assert int(drop.passes) == 1001 and torch.equal(drop.eval()(x), x)


def test_drop_path_falls_on_late_cells():
    net = AutoDeepLab(changed(path=[0, 1]), filters=1, drop_path=0.2, drop_path_steps=7)
    shares = [module.share for module in net.cells.modules() if isinstance(module, DropPath)]
    assert shares == [0.1] * 10 + [0.2] * 10 and not any("passes" in key for key in AutoDeepLab(filters=1).state_dict())


def test_weights_of_paths_by_hand():
    """exp(0) : exp(ln 3) is 1 : 3, times 2/3 where two ways are open."""
    betas = torch.zeros(1, LEVELS, 3)
    betas[0, 0, 2] = betas[0, 1, 1] = betas[0, 3, 0] = torch.tensor(3.0).log()
    expected = [[0, 1 / 6, 1 / 2], [0.2, 0.6, 0.2], [1 / 3, 1 / 3, 1 / 3], [1 / 2, 1 / 6, 0]]
    assert torch.allclose(normalized_betas(betas)[0], torch.tensor(expected))


def test_the_search_needs_layers_for_every_level():
    with pytest.raises(ConfigError, match="layers = 2: must be 3 or more"):
        AutoDeepLabSearch(1, layers=2)


@torch.no_grad()
def test_a_search_cell_with_one_hot_weights_is_the_decoded_cell():
    """Two edges per block at weight 1, all other edges at "none": equal to the cell that decoding gives."""
    torch.manual_seed(0)
    alphas = torch.full((20, len(OPERATIONS)), -100.0)
    alphas[:, 0] = 0.0
    for i, block in enumerate(SEARCHED_AGAIN.cell):
        for state, name in block:
            alphas[first_edge(i) + state, OPERATIONS.index(name)] = 100.0
    decoded = decode_cell(alphas)
    assert [{*block} for block in decoded] == [{*block} for block in SEARCHED_AGAIN.cell]
    cell = SearchCell(3, 15, {1: 15}).eval()
    before, last = torch.randn(1, 15, 8, 10), torch.randn(1, 15, 8, 10)
    mixed = cell(before, {1: last}, (8, 10), alphas.softmax(-1))[1]
    chosen = [
        [cell.edges[str(first_edge(i) + state)].operations[OPERATIONS.index(name) - 1] for state, name in block]
        for i, block in enumerate(decoded)
    ]
    plain = Cell(decoded, chosen)
    assert torch.allclose(mixed, plain(cell.before(before), cell.sources["1"](last)), atol=1e-5)


def test_cells_of_no_effect_still_train():
    """A genotype of "none" alone: every weight has a gradient, so that processes can train together."""
    nothing = [[[0, "none"], [1, "none"]] for _ in range(5)]
    for kind in (AutoDeepLab, AutoDeepLabResized):
        net = kind(changed(path=[0, 1], cell=nothing), filters=1)
        features = net(torch.randn(2, 3, 33, 32))
        sum(x.sum() for x in features).backward()
        assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert torch.equal(Zero(2)(torch.ones(1, 1, 3, 4)), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("path, early", [((0, 0, 0, 1), 3), ((1, 0, 1, 0), 2), ((1, 2, 1, 0), 0)])
def test_the_early_map_is_the_last_of_stride_4_among_the_first_three_cells(path, early):
    net = AutoDeepLabResized(changed(path=list(path)), filters=2)
    low, deep = net.eval()(torch.randn(1, 3, 64, 96))
    assert net.early == early and low.shape == (1, net.channels[0], 16, 24)
    assert deep.shape[1:] == (10 * 2 ** path[-1], 16 // 2 ** path[-1], 24 // 2 ** path[-1])
    assert net.channels[0] == (10 if early else 128) and net.strides == (4, 4 * 2 ** path[-1])


def test_a_few_steps_of_the_search_and_of_what_it_found(tmp_path, monkeypatch):
    """From the search to the derived network by the two documented commands."""
    monkeypatch.chdir(tmp_path)
    small = ["model.backbone.filters=1", "loop.steps=2", "runner.start_step=1"]
    data = ["train.dataset.length=8", "train.batch_size=2", "val=None"]
    assert main(["train", str(ROOT / "configs/quickstart/search.py"), "--cfg-options", *small, *data]) == 0
    found = parse_genotype(read_genotype("work_dirs/search/genotype.json"), "here")
    assert len(found.path) == 3
    options = ["model.backbone.genotype=work_dirs/search/genotype.json", "model.backbone.filters=2", "loop.steps=1"]
    assert main(["train", str(ROOT / "configs/quickstart/search_derived.py"), "--cfg-options", *options, *data]) == 0
    model = api.load_model("work_dirs/search_derived/last.pt")
    assert model.backbone.genotype == found


@pytest.mark.slow
def test_a_search_on_shapes_and_the_training_of_its_network(tmp_path, monkeypatch):
    """As docs/searched_networks.md has it; the found network learns more than the share of the background."""
    monkeypatch.chdir(tmp_path)
    fewer = ["--cfg-options", "loop.steps=60", "runner.start_step=20"]
    assert main(["train", str(ROOT / "configs/quickstart/search.py"), *fewer]) == 0
    option = "model.backbone.genotype=work_dirs/search/genotype.json"
    assert main(["train", str(ROOT / "configs/quickstart/search_derived.py"), "--cfg-options", option]) == 0
    lines = [json.loads(line) for line in Path("work_dirs/search_derived/log.jsonl").read_text().splitlines()]
    scores = [line["val"] for line in lines if "val" in line][-1]
    assert scores["mIoU"] > 25, "background alone is 12"
