"""The model card: README.md with the front matter that the Hugging Face hub reads.

https://huggingface.co/docs/hub/model-cards
"""

import json
import pprint
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segkit.hub.facts import Facts
from segkit.hub.licences import licence_of
from segkit.runtime.clicks import is_click_graph

PIPELINES = {"ClickSegmentor": "mask-generation", "ClickStages": "mask-generation", "FocalClick": "mask-generation"}
"""Tasks of the hub by model.type, where they are not "image-segmentation"."""

MAIN = ("mIoU", "aAcc", "mDice", "mAcc", "MeanDice", "segm.AP", "NoC@85", "NoC@90")
"""Scores that the front matter has, as far as there are any."""


@dataclass(frozen=True)
class CardInput:
    """What a card is written from.

    Attributes:
        name: "OWNER/NAME".
        licence: of the weights, as the hub names licences.
        config: the sections, without the folders of the machine.
        classes: K names.
        facts: of the run.
        dataset: name of the data set, as the owner calls it; "" for that of the config.
        parameters: of the network.
        use: lines of Python that predict an image with `model`.
        picture, graph: names of files beside the card, "" for none.
        version: of segkit.
    """

    name: str
    licence: str
    config: dict[str, Any]
    classes: Sequence[str]
    facts: Facts
    dataset: str
    parameters: int
    use: Sequence[str]
    picture: str
    graph: str
    version: str


def card(given: CardInput) -> str:
    """Returns the text of README.md."""
    return "\n".join(["---", *_front_matter(given), "---", "", *_body(given), ""])


def _quoted(text: str) -> str:
    """A text as YAML takes it: JSON's strings are YAML's."""
    return json.dumps(text, ensure_ascii=False)


def _front_matter(given: CardInput) -> list[str]:
    model = given.config.get("model") or {}
    pipeline = PIPELINES.get(str(model.get("type")), "image-segmentation")
    head = model.get("head") if isinstance(model.get("head"), dict) else {}
    tags = ["segkit", "segmentation", *([str(head["type"]).lower()] if head and head.get("type") else [])]
    lines = ["library_name: segkit", f"license: {_quoted(given.licence)}", f"pipeline_tag: {pipeline}", "tags:"]
    lines += [f"- {_quoted(tag)}" for tag in tags]
    dataset = given.dataset or (given.facts.data[-1] if given.facts.data else "")
    if given.dataset:
        lines += ["datasets:", f"- {_quoted(given.dataset)}"]
    scores = [score for name in MAIN for score in given.facts.scores if score.name == name]
    if scores:
        lines += ["metrics:", *(f"- {_quoted(score.name)}" for score in scores)]
        lines += ["model-index:", f"- name: {_quoted(given.name.partition('/')[2])}", "  results:", "  - task:"]
        lines += [f"      type: {pipeline}", "    dataset:", f"      name: {_quoted(dataset or 'unnamed')}"]
        lines += [f"      type: {_quoted(dataset or 'unnamed')}", "    metrics:"]
        for score in scores:
            lines += [f"    - type: {_quoted(score.name)}", f"      value: {score.value:.4g}"]
    return lines


def _body(given: CardInput) -> list[str]:
    facts, name = given.facts, given.name
    model = given.config.get("model") or {}
    parts = [str(model.get("type") or "Segmentor")]
    parts += [
        f"{part} {inner.get('name') or inner.get('type')}"
        for part in ("backbone", "neck", "head")
        if isinstance(inner := model.get(part), dict)
    ]
    lines = [f"# {name.partition('/')[2]}", "", f"A segmentation model of segkit {given.version}: {', '.join(parts)}; "]
    lines[-1] += f"{given.parameters / 1e6:.2f} M parameters, {len(given.classes) or model.get('num_classes')} classes."
    if given.picture:
        lines += ["", f"![image, truth and prediction of an image of the validation set]({given.picture})"]
    lines += ["", "## Use", "", "```bash", 'pip install "segkit[hub]"', "```", "", "```python", "import segkit", ""]
    lines += [f'model = segkit.load_model("hf:{name}")', *given.use, "```"]
    if given.graph:
        is_of_clicks = is_click_graph(given.graph)
        predicting = "" if is_of_clicks else f"`segkit predict {given.graph} IMAGES --out DIR`, "
        other = ", one of two," if is_of_clicks else ""
        lines += ["", f"`{given.graph}`{other} is the exported graph, which needs no torch: {predicting}"]
        lines[-1] += f"`segkit serve {given.graph}`."
    lines += ["", "The files hold weights and settings, and no code."]
    lines += ["", "## Scores", ""]
    if facts.scores:
        lines += [f"Of the {facts.source}.", "", "| score | value |", "|---|---|"]
        lines += [f"| {score.name} | {score.text} |" for score in facts.scores]
    else:
        lines += ["None were measured."]
    if facts.image_scores:
        lines += ["", f"Means over the {facts.images} images, with the 95 % interval of the bootstrap over images. "]
        lines[-1] += "It tells how much the choice of images matters, not how much another training would differ."
        lines += ["", "| score of an image | mean |", "|---|---|"]
        lines += [f"| {score.name} | {score.text} |" for score in facts.image_scores]
    lines += ["", "## Training", ""]
    lines += [f"- Data: {given.dataset or ', '.join(facts.data) or 'not stated'}."]
    if facts.train_images is not None:
        lines += [f"- Images trained on: {facts.train_images:,}."]
    if facts.steps is not None:
        batch = (given.config.get("train") or {}).get("batch_size")
        lines += [f"- Length: {facts.steps:,} optimizer steps" + (f" of {batch} images a process." if batch else ".")]
    lines += [f"- Began with: {f'`{facts.base}`' if facts.base else 'random weights'}."]
    lines += ["", "## Licence", "", f"These weights: {given.licence}. {_base_licence(facts.base)}"]
    if given.classes:
        shown = ", ".join(str(one).replace("|", "\\|") for one in given.classes)
        lines += ["", "## Classes", "", shown]
    config = pprint.pformat(given.config, width=100, sort_dicts=False)
    lines += ["", "## Config", "", "<details><summary>all sections</summary>", "", "```python", config, "```", ""]
    return [*lines, "</details>"]


def _base_licence(base: str) -> str:
    if not base:
        return "The training began with random weights."
    known = licence_of(base)
    if known is None:
        return f"The training began with `{base}`, whose licence segkit does not know; its terms hold as well."
    return f"The training began with `{base}`: {known}. Its terms hold as well."
