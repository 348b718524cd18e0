"""The first page of the site, and the page on losses."""

import re


def start_page(text: str) -> str:
    """Adds to README.md where to go next."""
    return text + NEXT


def losses_page(text: str) -> str:
    """Keeps of docs/losses.md what holds for all losses; the table and each loss are pages of the reference."""
    head = without_origin(text.partition("\n## ")[0])
    start = head.index("| loss |")
    after = head[start:].partition("\n\n")[2]
    note = (
        "[All losses](reference/losses/index.md) in a table that is searched and sorted; each has a page with "
        "arguments, defaults, valid values, inputs and, where it has one, its curve."
    )
    title, _, rest = head[:start].replace("shown below with each loss", "shown on its page").partition("\n")
    own = re.search(r"^## A loss of your own\n.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    return f"{title}\n\n{note}\n\n{rest.strip()}\n\n{after}\n\n{own[0] if own else ''}"


def without_origin(text: str) -> str:
    """Takes out the sentence that says to its editors what wrote a page."""
    return re.sub(r"^Written by `python .*?edit those\.\s+", "", text, flags=re.MULTILINE | re.DOTALL)


NEXT = """

## Where to go

| you want to | page |
|---|---|
| train on your own images | [Your own data](docs/own_data.md) |
| know how files, sections and overrides fit together | [Config files](docs/config.md) |
| freeze an encoder, fine-tune, resume, use many GPUs | [Training](docs/training.md) |
| look up an argument, its default and its range | [Reference](reference/index.md) |
| choose a network | [Model zoo](docs/model_zoo.md) |
| see what was measured | [Recorded runs](docs/results.md) |
"""
