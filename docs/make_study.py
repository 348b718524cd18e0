"""Table and plot of the CamVid study in docs/results_semantic.md: fifteen systems on one encoder with the same budget.

python docs/make_study.py            prints the table and writes docs/images/study.png
"""

import io
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from segkit.viz.draw import write_file  # noqa: E402
from segkit.viz.plots import COLORS  # noqa: E402


class Row(NamedTuple):
    """steps: of training; parameters: in millions, auxiliary heads left out; gmac: at 360x480; seconds: of a step on
    two cores, float32, of the five later systems by their ratio to U-Net's; val, test: mIoU; accuracy: of pixels, test;
    rare: IoU of pole, sign, fence, pedestrian, bicyclist, test."""

    name: str
    steps: int
    parameters: float
    gmac: float
    seconds: float
    val: float
    test: float
    accuracy: float
    rare: tuple[int, ...]


ROWS = (
    Row("FastFCN (JPU + EncNet)", 370, 3.62, 2.43, 3.5, 66.63, 60.18, 88.50, (16, 36, 32, 44, 51)),
    Row("Semantic FPN", 330, 3.67, 3.56, 3.9, 60.62, 55.23, 86.36, (15, 32, 27, 36, 39)),
    Row("SegFormer head", 316, 3.09, 2.08, 4.3, 58.01, 54.94, 88.16, (15, 32, 34, 37, 7)),
    Row("SFNet", 350, 3.37, 3.50, 3.6, 60.54, 54.72, 88.55, (9, 35, 31, 34, 7)),
    Row("PAN", 310, 3.14, 2.73, 4.3, 61.82, 54.57, 86.67, (12, 31, 32, 31, 31)),
    Row("UPerNet", 326, 3.64, 2.84, 4.1, 55.69, 52.73, 88.25, (1, 32, 31, 36, 0)),
    Row("PSPNet", 275, 3.80, 2.90, 4.8, 57.65, 52.52, 85.83, (1, 24, 33, 27, 38)),
    Row("Mask2Former", 168, 3.72, 3.03, 8.0, 54.80, 51.12, 86.69, (11, 27, 12, 32, 9)),
    Row("DPT", 254, 3.82, 5.80, 5.3, 50.28, 48.50, 87.87, (0, 25, 29, 1, 0)),
    Row("OCRNet", 270, 3.67, 2.86, 4.6, 50.35, 47.39, 85.37, (0, 16, 32, 20, 0)),
    Row("DANet", 205, 4.02, 3.21, 5.9, 50.07, 46.82, 85.18, (0, 19, 29, 17, 0)),
    Row("DeepLabv3+", 210, 3.30, 3.04, 6.1, 47.68, 44.23, 85.87, (0, 1, 26, 0, 0)),
    Row("U-Net", 300, 3.83, 4.06, 4.5, 43.62, 42.83, 87.06, (0, 1, 0, 0, 0)),
    Row("U-Net + scSE", 220, 3.86, 4.07, 5.8, 43.40, 42.50, 86.51, (0, 0, 2, 0, 0)),
    Row("LR-ASPP", 176, 3.11, 3.68, 7.7, 43.53, 41.10, 85.60, (0, 0, 0, 0, 0)),
)
"""One run each of configs/camvid_study, by test mIoU."""


def table() -> str:
    """-> Markdown."""
    head = ("system", "steps", "M parameters", "GMAC", "s / step", "val mIoU", "test mIoU", "pixel accuracy", "rare")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in ROWS:
        numbers = (
            f"{row.parameters:.2f}",
            f"{row.gmac:.2f}",
            f"{row.seconds:.1f}",
            f"{row.val:.2f}",
            f"**{row.test:.2f}**",
            f"{row.accuracy:.2f}",
            " / ".join(map(str, row.rare)),
        )
        lines.append(f"| {row.name} | {row.steps} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def plot(path: Path) -> None:
    """Test mIoU against parameters and against the time of a step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = (("parameters, millions", "parameters"), ("seconds a step, two cores, float32", "seconds"))
    for place, (label, field) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 2, place)
        for number, row in enumerate(ROWS):
            marker = "o" if number < len(COLORS) else "s"
            axes.plot(getattr(row, field), row.test, marker, color=COLORS[number % len(COLORS)], label=row.name)
        axes.set_xlabel(label)
        axes.set_ylabel("mIoU, CamVid test")
        axes.grid(color="#dddddd", linewidth=0.6)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_file(path, buffer.getvalue())


if __name__ == "__main__":
    plot(HERE / "images" / "study.png")
    print(table())
