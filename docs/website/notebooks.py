"""The notebooks as pages of the site: text as it is, code in blocks, stored outputs below it."""

import json
import re


def notebook_page(text: str) -> str:
    """Turns a notebook into a page.

    Args:
        text: of the .ipynb file, nbformat 4.

    Returns:
        Markdown. Pictures stand in it as data, so that the page needs no other file.
    """
    pieces = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            pieces.append(source)
            continue
        pieces.append(f"```python\n{source}\n```")
        pieces += [piece for piece in map(_output, cell["outputs"]) if piece]
    return "\n\n".join(pieces) + "\n"


def _output(output: dict) -> str:
    """What a cell left: a picture where there is one, else text."""
    content = output.get("data", {"text/plain": output.get("text", "")})
    for kind in ("image/png", "image/jpeg"):
        if kind in content:
            stored = re.sub(r"\s", "", "".join(content[kind]))
            return f"![output](data:{kind};base64,{stored})"
    shown = "".join(content["text/plain"]).rstrip()
    return f"```text\n{shown}\n```" if shown else ""
