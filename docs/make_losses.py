"""Writes docs/losses.md and the plots beside it from the docstrings of the registered losses.

python docs/make_losses.py [--no-plots]
"""

import argparse
import functools
import inspect
import operator
import re
import sys
import typing
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from segkit.losses.region import RegionLoss  # noqa: E402
from segkit.registry import LOSSES  # noqa: E402

IMAGES = HERE / "images" / "losses"
CITATION = re.compile(r"[A-Z][\w-]+(?: et\s+al\.| and [A-Z][a-z]+),[^.;:]*?\b(?:19|20)\d\d\b")
ADDRESS = re.compile(r"https://\S+?(?=[,.;:)]?(?:\s|$))|arXiv (\d{4}\.\d{4,5})")

SECTIONS = ("Args", "Attributes", "Returns", "Raises")

# losses of one logit: [(arguments, label in the plot)]
PLOTS: dict[str, list[tuple[dict, str]]] = {
    "BinaryCrossEntropy": [({}, "plain"), (dict(pos_weight=[3.0]), "pos_weight=[3]")],
    "BinaryFocal": [(dict(ignore=255), "gamma=2, alpha=0.5"), (dict(alpha=None, gamma=5.0, ignore=255), "gamma=5")],
    "SigmoidFocal": [({}, "gamma=2"), (dict(alpha=0.25), "alpha=0.25")],
    "NormalizedFocal": [(dict(ignore=255), "alpha=0.5"), (dict(max_mult=1.0, ignore=255), "max_mult=1")],
    "SoftIoU": [(dict(ignore=255), "plain")],
    "Dice": [(dict(activation="sigmoid"), "linear"), (dict(activation="sigmoid", squared=True), "squared")],
    "Jaccard": [(dict(activation="sigmoid"), "plain"), (dict(activation="sigmoid", log=True), "log")],
    "Tversky": [
        (dict(activation="sigmoid"), "0.3 / 0.7"),
        (dict(alpha=0.7, beta=0.3, activation="sigmoid"), "0.7 / 0.3"),
    ],
    "FocalTversky": [(dict(activation="sigmoid"), "gamma=0.75"), (dict(gamma=2.0, activation="sigmoid"), "gamma=2")],
    "Combo": [({}, "beta=0.5"), (dict(beta=0.8), "beta=0.8")],
    "LovaszHinge": [({}, "hinge"), (dict(elu=True), "elu + 1")],
    "MCC": [({}, "plain")],
    "BoundaryBCE": [({}, "plain")],
}
HEAD = """# Losses

`python docs/make_losses.py` writes this page from the docstrings; edit those. In a config a loss is a row:
`dict(type="Dice", on="logits", target="mask", weight=0.5, smooth=1.0)`. In a notebook it is a module:
`Dice(smooth=1.0)(logits, target)`. `on` names the outputs of the network that the loss reads, `target` the labels. If a
row leaves out `on`, `target` or `at`, the value comes from the loss's own *row*, shown below with each loss. Without
that, `on` is `"logits"` and `at` is `"image"`.

Every loss

- computes in float32 (float64 stays), also inside of an autocast region;
- gives 0, with a graph for gradients, if no pixel is valid;
- stays finite for logits of +-10,000;
- reads no value on the host, has no loop over images or classes, and compiles as one graph.

`average` says what a sum over pixels is divided by: the `"valid"` pixels, `"all"` pixels (mmseg's default), or the
valid pixels of all processes (`"global"`). Targets are class indices `[B,H,W]` with 255 ignored, unless stated
otherwise. Click targets are floats with -1 ignored. In shapes, B is batch, K classes, H W image.

Leave `ignore` out of a config: losses, and the padding of transforms, take the value of the training set
(`Dataset.ignore`). A loss with another value is refused before the first step.

Several terms are weighted by the row's `weight`, or by `DWA`, `Uncertainty` and `NormalizedPseudo` of
`segkit.losses.weighting`. `segkit.ops.class_balance` computes class weights from frequencies (`balanced_alpha`,
`effective_number`, `median_frequency`, `enet_log`).
"""

OWN = '''## A loss of your own

A loss is a class that derives from `segkit.losses.base.Loss`. It needs no registration: its module lies beside the
config, which names module and class as `my_losses:Certainty`. `forward` takes the outputs that the row names in `on`,
then the labels that it names in `target`. `row` holds the values that a config may leave out. An argument `ignore` gets
the value of the data set.

```python
# my_losses.py
from segkit.losses.base import Loss


class Certainty(Loss):
    """Mean entropy of the predicted classes over the labelled pixels: small where the network is sure."""

    row = dict(on="logits", target="mask")

    def __init__(self, ignore: int = 255):
        super().__init__()
        self.ignore = ignore

    def forward(self, logits, target):
        """logits: float [B,K,H,W], target: int64 [B,H,W] -> float []."""
        logits = logits.float()  # half precision is too coarse for logarithms
        valid = target != self.ignore
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
        return (entropy * valid).sum() / valid.sum().clamp(min=1)  # 0 where nothing is labelled
```

```python
# certain.py
_base_ = "segkit:quickstart/semantic.py"
losses = [dict(type="CrossEntropy"), dict(type="my_losses:Certainty", weight=0.1)]
loop = dict(steps=2, eval_every=0)
train = dict(batch_size=2, dataset=dict(length=4))
```

```sh
segkit train certain.py
```

`losses` replaces the rows of the base. Repeat the rows that the base has (`segkit config certain.py` prints them);
otherwise its auxiliary heads are refused as untrained. `segkit test work_dirs/certain/best.pt` then needs `--trust`,
since the checkpoint runs your own code. `segkit predict` does not need it.

The log shows the loss as `Certainty`. A loss of several terms returns a dict of them, each a `float []`, and the log
shows each. `metrics`, `hooks`, heads and the other parts have base classes of the same kind. The page *Classes to build
on* of the reference (`base_classes`) lists each with the methods that it may define.
'''


def paragraphs(doc: str | None) -> list[str]:
    """Returns the paragraphs of a docstring as Markdown; arguments become a list, other sections a line."""
    return [_as_markdown(block) for block in inspect.cleandoc(doc or "").split("\n\n")]


def _as_markdown(block: str) -> str:
    title, _, body = block.partition("\n")
    if title.rstrip(":") not in SECTIONS:
        is_code = all(line.startswith("    ") for line in block.splitlines())
        return f"```python\n{inspect.cleandoc(block)}\n```" if is_code else " ".join(block.split())
    text = inspect.cleandoc("\n" + body)
    entries = [" ".join(entry.split()) for entry in re.split(r"\n(?=\S)", text)]
    if title in ("Args:", "Attributes:"):
        return "\n".join(re.sub(r"^(\w+): ", r"- `\1`: ", entry) for entry in entries)
    return f"*{title.rstrip(':')}.* {' '.join(entries)}"


def paper(cls: type) -> str:
    """First citation and address in the docstring of the class, else in that of its module -> Markdown."""
    for doc in (cls.__doc__, sys.modules[cls.__module__].__doc__):
        text = " ".join((doc or "").split())
        cited, address = CITATION.search(text), ADDRESS.search(text)
        if cited:
            name = cited.group()
            if address is None:
                return name
            url = f"https://arxiv.org/abs/{address.group(1)}" if address.group(1) else address.group()
            return f"[{name}]({url})"
    return ""


def table(names: list[str]) -> str:
    """One row per loss: name, summary, paper."""
    rows = ["| loss | what it computes | paper |", "|---|---|---|"]
    for name in names:
        cls = LOSSES.get(name)
        summary = paragraphs(cls.__doc__)[0].replace("|", "\\|")
        rows.append(f"| [{name}](#{name.lower()}) | {summary} | {paper(cls).replace('|', '')} |")
    return "\n".join(rows)


def signature_of(cls: type) -> str:
    """The constructor's arguments with their types, without the ranges that annotations name."""
    hints = {
        name: functools.reduce(operator.or_, typing.get_args(hint)) if typing.get_origin(hint) is typing.Union else hint
        for name, hint in typing.get_type_hints(cls.__init__).items()
    }
    signature = inspect.signature(cls)
    plain = [p.replace(annotation=hints.get(name, p.annotation)) for name, p in signature.parameters.items()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def section(name: str) -> str:
    """Signature, row, docstrings and plot of one loss."""
    cls = LOSSES.get(name)
    signature = signature_of(cls).replace("torch.nn.modules.module.", "nn.")
    parts = [f"## {name}", f"`{name}{signature.replace('segkit.losses.base.', '')}`", *paragraphs(cls.__doc__)]
    if issubclass(cls, RegionLoss):
        parts += paragraphs(RegionLoss.__doc__)[1:]
    if cls.row:
        parts.append("*Row.* `" + ", ".join(f"{key}={value!r}" for key, value in cls.row.items()) + "`")
    parts += ["*Inputs.*", *paragraphs(cls.forward.__doc__)[1:]]
    if name in PLOTS:
        parts.append(f"![value and gradient of {name} against the logit](images/losses/{name}.png)")
    return "\n\n".join(parts)


def curve(name: str, own: dict, label: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One pixel's logit runs from -8 to 8 while 15 others, half of them true, are right with probability 0.73
    -> logits, values of the loss, its gradients to that logit, [n] each."""
    loss = LOSSES.get(name)(**own)
    target = (torch.arange(16) % 2).view(1, 4, 4)
    target[0, 0, 0] = label
    logits = 2.0 * target.unsqueeze(1) - 1
    xs, values, gradients = torch.linspace(-8, 8, 161), [], []
    for x in xs:
        image = logits.clone()
        image[0, 0, 0, 0] = x
        image.requires_grad_()
        value = loss(image, target)
        value.backward()
        values.append(value.item())
        gradients.append(image.grad[0, 0, 0, 0].item())
    return xs, torch.tensor(values), torch.tensor(gradients)


def plot(name: str) -> None:
    """Writes images/losses/NAME.png: value and gradient for a positive and a negative pixel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(7, 2.4), constrained_layout=True)
    for (own, title), style in zip(PLOTS[name], ("-", "--")):
        for label, color in ((1, "tab:blue"), (0, "tab:red")):
            xs, values, gradients = curve(name, own, label)
            axes[0].plot(xs, values, style, color=color, label=f"{title}, label {label}")
            axes[1].plot(xs, gradients, style, color=color)
    axes[0].set_title(f"{name}: value", fontsize=9)
    axes[1].set_title("gradient", fontsize=9)
    axes[0].legend(fontsize=6)
    for axis in axes:
        axis.set_xlabel("logit", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figure.savefig(IMAGES / f"{name}.png", dpi=80)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-plots", action="store_true", help="leave the pictures as they are")
    options = parser.parse_args()
    names = LOSSES.names()
    if not options.no_plots:
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name in PLOTS:
            plot(name)
    note = (
        "The plots show the loss of an image of 16 pixels while the logit of one pixel changes, for a true (blue) and "
        "a false (red) pixel. The other pixels are right with probability 0.73."
    )
    text = "\n\n".join([HEAD.strip(), table(names), note, OWN.strip(), *(section(name) for name in names)])
    (HERE / "losses.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
