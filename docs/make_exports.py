"""Writes the table of docs/exports.md: every model config, exported with free sizes and compared with the network.

Run `python docs/make_exports.py` in the repository's root; it needs the test rows beside segkit, and downloads nothing.
Each config is built in the small form of tests/arch_rows, with random weights of a fixed seed. A finished row is kept
in docs/exports_rows.json at once, so that the command goes on where it was stopped; --again NAME ... makes rows anew,
--table writes the table alone.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from segkit.export.parts import Request, parts_of  # noqa: E402
from segkit.export.program import program_of  # noqa: E402
from segkit.export.proof import Comparison, synthetic_cases  # noqa: E402
from segkit.export.sessions import open_run  # noqa: E402
from segkit.export.writers import FORMATS  # noqa: E402
from segkit.files import write_whole  # noqa: E402
from segkit.registry import ConfigError  # noqa: E402
from tests.archs_table import ROWS, build  # noqa: E402

STORE, PAGE = ROOT / "docs/exports_rows.json", ROOT / "docs/exports.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
FORMATS_SHOWN = ("onnx", "pt2")
CLOSE = 1e-4
"""Largest difference, in standard deviations of the output, that counts as equal."""


def small_model(name: str) -> torch.nn.Module:
    """Builds a row's small model with random weights, and with statistics of one batch where it has such."""
    row = ROWS[name]
    torch.manual_seed(0)
    model = build(name, min(row.classes, 5), row.small)
    if row.is_map:
        with torch.no_grad():
            image = torch.randint(0, 256, (2, 3, *row.sizes[0]), dtype=torch.uint8)
            model.train()(*row.inputs(image))
    model.eval()
    model.config = {} if row.is_map else {"runner": {"type": "BoxSupervised"}}
    model.classes = model.palette = None
    return model


@torch.no_grad()
def rounding_of(model: torch.nn.Module, images: list[torch.Tensor]) -> float:
    """What float32 alone costs a network of maps: its largest distance from itself in float64, in std of the output."""
    exact = copy.deepcopy(model).double()
    worst = 0.0
    for image in images:
        wanted = exact(image.double())["logits"]
        worst = max(worst, float((model(image)["logits"].double() - wanted).abs().max() / wanted.std()))
    return worst


def result_of(name: str, to: str, size: tuple[int, int] | None) -> dict:
    """Exports a row and compares it; {"error": reason} where it cannot be exported."""
    if ROWS[name].inputs.__name__ == "masked":
        return {"error": "refines a mask; `segkit refine` runs it"}
    if not ROWS[name].small and ROWS[name].total > 60_000_000:
        return {"error": "not run: there is no small form of it"}
    start = time.perf_counter()
    try:
        model = small_model(name)
        parts = parts_of(model, Request(size=size))
        with tempfile.TemporaryDirectory() as folder:
            runs = []
            for part in parts:
                path = Path(folder) / f"{part.name or 'graph'}{FORMATS[to].suffix}"
                FORMATS[to].write(part, program_of(part, name), path, name)
                runs.append(open_run(to, path, torch.get_num_threads()))
            comparison = Comparison(parts, runs)
            for case in synthetic_cases(parts[0].info):
                comparison.add(case)
    except ConfigError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    equal = comparison.equal / max(comparison.pixels, 1)
    seconds = round(time.perf_counter() - start, 1)
    result = {"difference": comparison.difference, "equal": equal, "size": size, "seconds": seconds}
    if comparison.difference >= CLOSE and ROWS[name].is_map:
        images = [torch.from_numpy(case.image) for case in synthetic_cases(parts[0].info)]
        result["rounding"] = rounding_of(model, images)
    return result


def row_of(name: str, formats: list[str]) -> dict:
    """The results of all formats; where free sizes fail, that of the row's own size as well."""
    results = {}
    for to in formats:
        results[to] = result_of(name, to, None)
        if "error" in results[to] and not results[to]["error"].startswith(("refines", "not run")):
            reason = results[to]["error"]
            results[to] = {**result_of(name, to, ROWS[name].sizes[-1]), "free": reason}
    return results


def cell(result: dict | None) -> tuple[str, str]:
    """What the table says of a result, and the reason where sizes are not free."""
    if result is None:
        return "not run", ""
    if "error" in result:
        return "no", result["error"]
    word = f"{result['difference']:.0e}, {100 * result['equal']:.3f} %"
    word += f"; float32 itself: {result['rounding']:.0e}" if "rounding" in result else ""
    return (f"`--size` alone: {word}" if result["size"] else word), result.get("free", "")


def table(store: dict[str, dict]) -> str:
    """The rows as Markdown."""
    lines = ["| config | ONNX: difference in std, equal labels | pt2 | remark |", "|---|---|---|---|"]
    for name in sorted(name for name in ROWS if "onnx" in store.get(name, {})):
        cells = {to: cell(store.get(name, {}).get(to)) for to in FORMATS_SHOWN}
        reasons = {reason for _, reason in cells.values() if reason}
        remark = "; ".join(sorted(" ".join(reason.split())[:160].replace("|", "/") for reason in reasons))
        lines.append(f"| {name} | {cells['onnx'][0]} | {cells['pt2'][0]} | {remark} |")
    done = len(lines) - 2
    text = "\n".join(lines)
    return f"{done} of {len(ROWS)} configs have been tested with ONNX; the others are not listed.\n\n{text}\n"


def main() -> None:
    """Runs the rows that are missing, and writes the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--to", nargs="+", default=["onnx"], choices=FORMATS_SHOWN)
    arguments.add_argument("--only", nargs="+", default=sorted(ROWS), metavar="NAME", help="these rows alone")
    arguments.add_argument("--again", nargs="+", default=[], metavar="NAME", help="rows to make anew")
    arguments.add_argument("--table", action="store_true", help="write the table alone")
    args = arguments.parse_args()
    store: dict[str, dict] = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    for name in () if args.table else [*args.again, *args.only]:
        missing = [to for to in args.to if name in args.again or to not in store.get(name, {})]
        if missing:
            store[name] = store.get(name, {}) | row_of(name, missing)
            print(name, store[name], flush=True)
            write_whole(STORE, json.dumps(dict(sorted(store.items())), indent=1) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    write_whole(PAGE, f"{before}{BEGIN}\n{table(store)}\n{END}{after}")


if __name__ == "__main__":
    main()
