"""Builds the documentation as a site: the pages of docs/ and a reference made from the docstrings.

python docs/make_site.py [--out build/site]

Where a link, an anchor, a name in a docstring or the documentation of a public name is missing, the build ends with a
list of what is wrong. Needs the extra `docs`: pip install -e ".[docs]" -c constraints.txt; `make docs` installs it.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from website import classes, functions, pictures  # noqa: E402
from website.bases import add_bases  # noqa: E402
from website.check import broken_links  # noqa: E402
from website.errors import errors_page  # noqa: E402
from website.navigation import navigation  # noqa: E402
from website.notebooks import notebook_page  # noqa: E402
from website.pages import CLASS, GUIDE, HISTORY, ROOT, Site  # noqa: E402
from website.start import losses_page, start_page  # noqa: E402
from website.zoo import zoo_page  # noqa: E402

PAGES_APART = {"model_zoo.md": zoo_page, "losses.md": losses_page, "errors.md": errors_page}
"""Pages of docs/ that have another form in the site, and what changes their text."""

WEIGHTS = {"errors.md": CLASS}
"""Weights in the search of pages that hold every word: those that explain go first."""


def stage(folder: Path) -> Site:
    """Writes the source folder of the site.

    Args:
        folder: replaced where it exists.

    Returns:
        The site, with what is wrong in `problems`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    site = Site(folder, classes.class_pages())
    shutil.copytree(HERE / "images", folder / "images")
    shutil.copytree(HERE / "website" / "assets", folder / "assets")
    site.add("README.md", "index.md", start_page)
    for path in sorted(HERE.rglob("*.md")):
        name = path.relative_to(HERE).as_posix()
        site.add(f"docs/{name}", name, PAGES_APART.get(name, str), weight=WEIGHTS.get(name, GUIDE))
    site.add("CONTRIBUTING.md", "contributing.md")
    site.add("CHANGELOG.md", "changelog.md", weight=HISTORY)
    site.add("SECURITY.md", "security_policy.md")
    site.add("benchmarks/results.md", "benchmarks.md")
    site.add("notebooks/README.md", "notebooks/index.md")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        site.add(f"notebooks/{path.name}", f"notebooks/{path.stem}.md", notebook_page)
    classes.add_classes(site, pictures.draw_all(folder))
    functions.add_functions(site)
    add_bases(site)
    site.write_sources()
    return site


def write_settings(site: Site, path: Path, out: Path) -> None:
    """Writes mkdocs.yml of the source folder: the settings, the navigation and the two folders."""
    import yaml

    entries = dict(docs_dir=site.folder.name, site_dir=out.name, nav=navigation(site.pages))
    text = (HERE / "website" / "mkdocs.yml").read_text(encoding="utf-8")
    path.write_text(text + "\n" + yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def build(out: Path) -> list[str]:
    """Builds the site.

    Args:
        out: its folder, replaced where it exists.

    Returns:
        What is wrong, a line each.
    """
    site = stage(out.with_name(f"{out.name}_source"))
    settings = out.with_name(f"{out.name}.yml")
    write_settings(site, settings, out)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(settings)]
    ended = subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, cwd=ROOT)
    if ended.returncode:
        return [*site.problems, "mkdocs found the problems above"]
    return [*site.problems, *broken_links(out)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    options = parser.parse_args()
    if importlib.util.find_spec("material") is None:
        sys.exit('the site needs mkdocs-material: pip install -e ".[docs]" -c constraints.txt, or `make docs`')
    start = time.perf_counter()
    problems = build(options.out.resolve())
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{options.out}: {len(problems)} problems, {time.perf_counter() - start:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
