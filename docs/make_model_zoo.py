"""Writes docs/model_zoo.md: systems with their papers, sizes, published scores, checkpoints and measured parity.

python docs/make_model_zoo.py [--recount]

Parameters and published MACs are those that tests/test_archs.py asserts; other MACs are counted on the meta device and
kept in the page, --recount counts them again.
"""

import argparse
import importlib
import inspect
import re
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from model_zoo_rows import NO_CODE, ROWS  # noqa: E402

from segkit.config import load_config  # noqa: E402
from segkit.convert.keymap import all_maps  # noqa: E402
from segkit.hub.licences import LICENCES, NOTE  # noqa: E402
from segkit.registry import HEADS  # noqa: E402
from tests.archs_table import MODELS, build  # noqa: E402
from tests.archs_table import ROWS as CONTRACT  # noqa: E402

PAGE = HERE / "model_zoo.md"
ORACLES = tuple(
    f"test_oracles_{topic}"
    for topic in (
        "mmseg",
        "context",
        "attention",
        "smp",
        "smp_dpt",
        "modern",
        "segformer",
        "transformers",
        "queries",
        "realtime",
        "espnet",
        "gscnn",
    )
)
COUNTED = re.compile(r"^\|[^|]*\|[^|]*\| \[([\w.+-]+)\]\([^)]*\) \| [\d,]+ \(\d+\) \| ([\d.]+|-) \|", re.M)

HEAD = """# Model zoo

Written by `python docs/make_model_zoo.py` from `docs/model_zoo_rows.py` and the table of the contract
(`tests/arch_rows`); edit those.

- *parameters*: the number of trained parameters, auxiliary heads included, with the number of classes in brackets.
  `tests/test_archs.py` asserts it.
- *GMAC*: 1e9 multiply-additions for one 512x512 image in evaluation, in the form that papers count. Auxiliary heads
  and operations other than convolutions and matrix products are not counted. Published values are matched within 1%.
  The executed number is lower where maps of several sizes are joined before a convolution
  (`segkit/ops/resized_conv.py`: PSPNet, UPerNet, SFNet, OCRNet on HRNet).
- *published score*: mIoU in percent on the validation split at one scale unless stated otherwise, as the source
  reports it. No score in this column was trained here; for what was trained here see [results.md](results.md).
  "paper": quoted, not looked up again.
- *checkpoint*: the projects whose files `load_model(config, FILE)` and
  `segkit convert FILE OUT --from MAP --config CONFIG` read. A file fits a config of the same depth, classes and
  auxiliary heads. The configs below leave the number of classes open, and take it from the file. Heads of torchvision
  and segmentation_models have other widths than those of the configs; `tests/test_keymaps.py`,
  `tests/test_oracles_smp.py` and `tests/test_oracles_modern.py` name the options that fit.
- Models of the Hugging Face hub load by their name alone, `load_model("hf:OWNER/NAME")`: SegFormer, Mask2Former,
  MaskFormer, EoMT, UPerNet, DPT, BEiT, and DeepLabv3 on MobileViT
  ([training.md](training.md#models-of-the-hugging-face-hub)).
- Licences are those of the weights' owners, not of this library. Not for commercial use: the files of SegFormer's
  authors and of NVIDIA (NVIDIA Source Code License), of Mask2Former and of MAE (CC BY-NC 4.0). With terms of their
  own: MobileViT (Apple sample code), DINOv3. Apache-2.0: mmsegmentation, SegNeXt, DINOv2. BSD: torchvision. MIT: Swin,
  ConvNeXt, BEiT.
- *parity*: "outputs": with the same weights, the outputs equal that project's within 3e-5 of their standard deviation
  (`tests/test_oracles_*.py`). "names": names and shapes match one to one; outputs were not compared. "no": no
  reference was available; the parameter count and the paper's own identities are tested.
"""


def citation(name: str) -> str:
    """name: of a model config -> its paper as a link, from the first sentence of the module that cites it."""
    place = ROWS[name].paper
    if place.startswith("["):
        return place
    head = load_config(MODELS / f"{name}.py", ["num_classes=2"])["model"].get("head")
    doc = importlib.import_module(place or HEADS.get(head["type"]).__module__).__doc__
    text = " ".join(inspect.cleandoc(doc or "").split())
    url = re.search(r"https://\S+?(?=[,.;:)]*(?:\s|$))", text)
    title = text[: url.start()].rstrip(", ") if url else text.partition(". ")[0]
    return f"[{title}]({url.group()})" if url else title


def gmac(name: str) -> str:
    """Multiply-additions of one 512x512 image, counted on the meta device; "-" for models of instances."""
    row = CONTRACT[name]
    if not row.is_map:
        return "-"
    model = build(name, row.classes, device="meta").eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*row.inputs(torch.empty(1, 3, 512, 512, device="meta")))
    return shown(counter.get_total_flops() / 2e9)


def shown(value: float) -> str:
    """Four digits at most."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def compared() -> dict[str, list[str]]:
    """Config -> projects whose outputs the tests hold it to."""
    found: dict[str, list[str]] = {}
    for test in ORACLES:
        for config, key_map, *_ in importlib.import_module(f"tests.{test}").MODELS.values():
            projects = found.setdefault(config, [])
            project = key_map.partition("_")[0]
            projects += [project] if project not in projects else []
    return found


def parity(name: str, outputs: dict[str, list[str]]) -> str:
    entry = ROWS[name]
    if entry.parity:
        return entry.parity
    if name in outputs:
        return f"outputs ({', '.join(outputs[name])})"
    return "names" if entry.maps else "no"


def checkpoints(name: str) -> str:
    maps = all_maps()
    links = {maps[one].url: [] for one in ROWS[name].maps}
    for one in ROWS[name].maps:
        links[maps[one].url].append(one)
    return ", ".join(f"[{', '.join(names)}]({url})" for url, names in links.items()) or "-"


def page(counted: dict[str, str]) -> str:
    """counted: MACs by config, "-" where there are none -> the whole text."""
    rows = ["| system | paper | config | parameters | GMAC | published score | checkpoint | parity |", "|---" * 8 + "|"]
    outputs = compared()
    for name, entry in ROWS.items():
        row = CONTRACT[name]
        score = f"{entry.scores} ({entry.source})" if entry.scores else "-"
        cells = (
            entry.system,
            citation(name),
            f"[{name}](../configs/_base_/models/{name}.py)",
            f"{row.total:,} ({row.classes})",
            counted[name] if row.gmac is None else shown(row.gmac),
            score,
            checkpoints(name),
            parity(name, outputs),
        )
        rows.append(f"| {' | '.join(cell.replace('|', '') for cell in cells)} |")
    without = [entry.system for entry in ROWS.values() if entry.parity == NO_CODE]
    note = f"Parity was not tested for these, because there is no public code to trust: {', '.join(without)}."
    return "\n".join([HEAD, *rows, "", note, NOTE, *licences()]) + "\n"


def licences() -> list[str]:
    """The table of weights and what their licences allow."""
    rows = ["| weights | licence | commercial use | said where |", "|---" * 4 + "|"]
    return rows + [f"| {' | '.join(cells)} |" for cells in LICENCES]


def stored() -> dict[str, str]:
    """The MACs that the page holds."""
    return dict(COUNTED.findall(PAGE.read_text())) if PAGE.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recount", action="store_true", help="count all MACs again")
    options = parser.parse_args()
    known = {} if options.recount else stored()
    missing = [name for name in ROWS if name not in known and CONTRACT[name].gmac is None]
    for name in missing:
        known[name] = gmac(name)
        print(f"{name}: {known[name]} GMAC", flush=True)
    PAGE.write_text(page(known))


if __name__ == "__main__":
    main()
