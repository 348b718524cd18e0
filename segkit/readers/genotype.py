"""Genotypes: what a search of architectures has found, as data. JSON files, those of segkit/genotypes by their names.

{"network": "FasterSeg", "about": "where it comes from", ...}: the other keys are the network's own.
"""

import re
from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, brief, parse_json, read_text
from segkit.registry import ConfigError, did_you_mean

FOLDER = Path(__file__).parents[1] / "genotypes"
"""Genotypes of published networks."""


def published_genotypes() -> list[str]:
    """Returns the names of the published genotypes."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_genotype(genotype: str | dict, network: str) -> tuple[dict[str, Any], str]:
    """Reads a genotype.

    Args:
        genotype: name of a published one, path of a JSON file, or the content of such a file.
        network: that it must be of, "FasterSeg".

    Returns:
        Its content, and what messages call it.

    Raises:
        ConfigError: there is no such genotype or file, it is no JSON object, or one of another network.
    """
    if isinstance(genotype, dict):
        content, source = dict(genotype), "genotype"
    else:
        content, source = _content_of(str(genotype)), str(genotype)
    return of_network(content, network, source), source


def of_network(content: object, network: str, source: str) -> dict[str, Any]:
    """Returns the content of a genotype; ConfigError, which begins with `source`, where it is none of this network."""
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: is {brief(content)}, not a genotype; take the genotype.json of a search")
    if content.get("network") != network:
        found = f"its network is {brief(content['network'])}" if "network" in content else "it names no network"
        raise ConfigError(f"{source}: is no genotype of {network} ({found}); take the genotype.json of its search")
    return content


def _content_of(name: str) -> Any:
    if re.fullmatch(r"[\w-]+", name):
        if name not in published_genotypes():
            raise ConfigError(
                f"genotype = '{name}': no such published genotype{did_you_mean(name, published_genotypes())}; "
                f"available: {', '.join(published_genotypes())}, or the path of a JSON file"
            )
        path = FOLDER / f"{name}.json"
    else:
        path = Path(name)
    text = read_text(path, CONFIG_BYTES, ConfigError)
    return parse_json(text, path, ConfigError)
