"""The reference of registered classes: a page per class, and per registry a table that is searched and sorted."""

import sys

from make_losses import PLOTS, paper

from segkit import registry as reg
from segkit.cli.config import LISTS
from segkit.schema import EXTRA_KEYS, SUPPLIED_TO_HEADS, TREE, needs_of
from website import docstrings
from website.docstrings import cell, markdown, paragraph
from website.pages import CLASS, Site, relative
from website.picture import Picture
from website.since import note
from website.tables import Link, names_that_lead_nowhere, parameters_of, table_of, values_in_words

TITLES = {"datasets": "Data sets"}
"""Titles of registries that are more than their names."""

INTRODUCTIONS = {
    "models": "Whole networks: `model = dict(type=...)`; `Segmentor` where the type is left out.",
    "backbones": "Encoders: `model.backbone`. Any timm encoder with feature maps is a `TimmBackbone`.",
    "necks": "From the feature maps of the backbone to other ones: `model.neck`.",
    "heads": "From feature maps to outputs: `model.head`, and `model.aux` for auxiliary ones.",
    "losses": "Rows of the list `losses`. What holds for all of them: [Losses](../../losses.md).",
    "datasets": "`train.dataset`, `val.dataset`, `test.dataset`. [Data](../../data.md) says what their folders hold.",
    "transforms": "Lists `transforms` of `train`, `val`, `test`. For all: [Transforms](../../transforms.md).",
    "samplers": "The order of the images of a training: `train.sampler`.",
    "metrics": "The list `metrics`. Conventions and outputs: [Metrics](../../metrics.md).",
    "optimizers": "`optimizer = dict(type=...)`: those of torch, with ranges of segkit.",
    "schedules": "How the learning rate moves: `schedule`.",
    "runners": "What the model is fed and how its outputs become predictions: `runner`.",
    "hooks": "Observers of a training: the list `hooks`. They change no number.",
    "refiners": "From a coarse prediction to a finer one: `inference.refiners`. [Guide](../../refiners.md).",
    "weightings": "Weights of several losses that follow the training: `weighting`.",
}
"""What each registry holds, and where a config names it."""


CURVE = (
    "Value and gradient of an image of 16 pixels as one pixel's logit moves, for a true (blue) and a false (red) "
    "pixel; the others are right with probability 0.73."
)
"""What the plots of losses show."""


def class_pages() -> dict[str, str]:
    """Returns the page of each registered name that one registry alone has."""
    pages: dict[str, list[str]] = {}
    for kind, registry in LISTS.items():
        for name in registry.names():
            pages.setdefault(name, []).append(page_of(kind, name))
    return {name: places[0] for name, places in pages.items() if len(places) == 1}


def page_of(kind: str, name: str) -> str:
    return f"reference/{kind}/{name}.md"


def title_of(kind: str) -> str:
    return TITLES.get(kind, kind.capitalize())


def summary_of(cls: type) -> str:
    return docstrings.parse(cls.__doc__).summary


def paper_of(cls: type) -> str:
    """The first paper that the class or its module cites, as a link; "" where none is cited."""
    return paper(cls).replace("|", "") if cls.__module__.startswith("segkit.") else ""


def family_of(cls: type) -> str:
    """The last words of the module, which group a registry: "region", "interactive.clicks"."""
    return ".".join(cls.__module__.split(".")[2:]) or cls.__module__


def supplied(kind: str, name: str) -> bool:
    """Whether segkit fills in an argument, so that a config leaves it out."""
    nodes = {key for node in TREE.values() if node.registry is LISTS[kind] for key in node.supplied}
    return name in nodes or (kind in ("heads", "necks") and name in SUPPLIED_TO_HEADS)


def problems_of(kind: str, name: str) -> list[str]:
    """Returns what the documentation of a registered class lacks, in words."""
    cls = LISTS[kind].get(name)
    place = f"{cls.__module__}.{name}"
    if cls.__module__.startswith("torch."):
        return []
    found = [] if cls.__doc__ else [f"{place}: no docstring"]
    known = docstrings.arguments_of(cls)
    lacking = [parameter for parameter in parameters_of(cls) if parameter not in known]
    found += [f"{place}: the docstring does not say what {', '.join(lacking)} is"] if lacking else []
    return found + names_that_lead_nowhere(cls.__doc__, place)


def example(kind: str, name: str) -> str:
    """The shortest entry of a config: the type, and what has no default."""
    required = [
        f"{key}=..."
        for key, value in parameters_of(LISTS[kind].get(name)).items()
        if value.default is value.empty and not supplied(kind, key)
    ]
    return f"dict({', '.join([f'type={name!r}', *required])})".replace("'", '"')


def argument_table(kind: str, cls: type, link: Link) -> str:
    """The constructor's arguments with what they may be, their defaults and their meaning."""
    parameters = parameters_of(cls)
    if not parameters:
        return "It has no arguments."
    filled = {name for name in parameters if supplied(kind, name)}
    return table_of(parameters, values_in_words(needs_of(cls)), docstrings.arguments_of(cls), link, filled)


def page_text(kind: str, name: str, site: Site, picture: Picture | None = None) -> str:
    """The page of a class: what it does, the entry of a config, arguments, inputs, source."""
    cls, page = LISTS[kind].get(name), page_of(kind, name)
    doc = docstrings.parse(cls.__doc__)

    def link(target: str) -> str:
        place = site.class_pages.get(target, "")
        return relative(page, place) if place and target != name else ""

    first_version = note("classes", name, relative(page, "changelog.md"))
    front = f"---\nhide:\n  - navigation\nsearch:\n  boost: {CLASS}\n---"
    parts = [front, f"[{title_of(kind)}](index.md){{ .up }}", f"# {name}", f"<small>{first_version}</small>"]
    parts.append(markdown(doc.summary, link))
    if picture is not None:
        address = relative(page, picture.path)  # a click shows it whole, which a phone needs
        parts += ["<figure markdown>", f"[![{name}]({address})]({address})"]
        parts += [f"<figcaption markdown>{picture.text}</figcaption>", "</figure>"]
    parts += [paragraph(block, link) for block in doc.body]
    parts.append(f"```python\n{example(kind, name)}\n```")
    parts += ["## Arguments", argument_table(kind, cls, link)]
    row = getattr(cls, "row", None)
    if kind == "losses" and row:
        parts.append("What a row leaves out: `" + ", ".join(f"{key}={value!r}" for key, value in row.items()) + "`.")
    if kind == "losses":
        parts += inputs_of(cls, link)
    for title, entries in doc.sections.items():
        parts += [f"## {title}", "\n".join(f"- {markdown(entry, link)}" for entry in entries)]
    parts += ["## Source", source_of(cls)]
    return "\n\n".join(part for part in parts if part) + "\n"


def inputs_of(cls: type, link: Link) -> list[str]:
    """What the forward method of a loss takes."""
    doc = docstrings.parse(cls.forward.__doc__)  # type: ignore[attr-defined]
    lines = [f"- `{name}`: {markdown(text, link)}" for name, text in doc.arguments.items()]
    sentences = [paragraph(block, link) for block in doc.body]
    return ["## Inputs", *sentences, "\n".join(lines)] if lines or sentences else []


def source_of(cls: type) -> str:
    """Paper and module."""
    cited = paper_of(cls)
    module = f"`{cls.__module__}.{cls.__name__}`"
    if cls.__module__.startswith("torch.optim"):
        return f"{module}, [PyTorch's page](https://pytorch.org/docs/stable/generated/torch.optim.{cls.__name__}.html)."
    return f"{cited}; {module}." if cited else f"{module}."


def registry_page(kind: str) -> str:
    """The table of a registry."""
    registry = LISTS[kind]
    rows = ["| name | what it is | module | paper |", "|---|---|---|---|"]
    for name in registry.names():
        cls = registry.get(name)
        cells = (f"[{name}]({name}.md)", cell(markdown(summary_of(cls))), f"`{family_of(cls)}`", paper_of(cls) or " ")
        rows.append(f"| {' | '.join(cells)} |")
    positions = [position.replace("[]", "") for position, node in TREE.items() if node.registry is registry]
    keys = [key for position in TREE for key in EXTRA_KEYS.get(position, ()) if TREE[position].registry is registry]
    parts = [f"# {title_of(kind)}", INTRODUCTIONS[kind]]
    parts.append(f"Place in a config: {', '.join(f'`{position}`' for position in positions if '*' not in position)}.")
    if keys:
        parts.append(
            f"Keys beside the arguments: {', '.join(f'`{key}`' for key in keys)}; see [settings](../settings.md)."
        )
    own = 'A class of your own needs no entry here: `type="my_package.my_module:MyClass"`.'
    parts += [own, '<div class="table-tools" markdown>', "\n".join(rows), "</div>"]
    return "\n\n".join(parts) + "\n"


def overview() -> str:
    """The first page of the reference."""
    rows = ["| part | how many | what |", "|---|---|---|"]
    for kind, registry in LISTS.items():
        sentence = INTRODUCTIONS[kind].replace("../../", "../")
        rows.append(f"| [{title_of(kind)}]({kind}/index.md) | {len(registry.names())} | {sentence} |")
    return (
        "\n\n".join(
            [
                "# Reference",
                "Everything that a config can name, made from docstrings and constructors: "
                "arguments, defaults, and the values that the check of a config takes. The same stands in "
                "`segkit config --list losses --show Dice`.",
                "[Python functions](python.md), [commands](commands.md), [settings](settings.md), "
                "[base configs](bases.md), [classes to build on](base_classes.md).",
                "\n".join(rows),
            ]
        )
        + "\n"
    )


def add_classes(site: Site, pictures: dict[str, Picture]) -> None:
    """Writes the pages of all registries; what their docstrings lack becomes a problem of the site.

    Args:
        site: the site's source folder.
        pictures: page of a class -> its picture.
    """
    site.write("reference/index.md", overview())
    for kind, registry in LISTS.items():
        site.write(f"reference/{kind}/index.md", registry_page(kind))
        for name in registry.names():
            page = page_of(kind, name)
            picture = pictures.get(page)
            if kind == "losses" and name in PLOTS:
                picture = Picture(f"images/losses/{name}.png", CURVE)
            site.write(page, page_text(kind, name, site, picture))
            site.problems += problems_of(kind, name)
    modules = {LISTS[kind].get(name).__module__ for kind, registry in LISTS.items() for name in registry.names()}
    for module in sorted(module for module in modules if module.startswith("segkit.")):
        site.problems += names_that_lead_nowhere(sys.modules[module].__doc__, module)


assert set(INTRODUCTIONS) == set(LISTS), "each registry of segkit config --list has an introduction"
assert all(isinstance(registry, reg.Registry) for registry in LISTS.values())
