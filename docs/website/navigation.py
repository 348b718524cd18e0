"""Where each page stands in the site: tabs with groups of pages; a page that none names stands at the end of How-to."""

from fnmatch import fnmatchcase

FIRST = (
    "own_folder",
    "coco_polygons",
    "satellite_tiles",
    "medical_slices",
    "clicks",
    "add_classes",
    "masks_from_boxes",
    "fine_tune",
    "many_gpus",
    "ship_it",
)
"""The tutorials in the order in which a reader meets them."""

TABS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "Start": (("", ("index.md", "own_data.md", "coming_from*.md")),),
    "Tutorials": (
        ("", (*(f"tutorials/{name}.md" for name in FIRST), "labelling_loop.md", "tutorials/*.md")),
        ("Notebooks", ("notebooks/*.md",)),
        ("By task", ("interactive.md", "incremental.md", "box_supervised.md", "self_training.md", "competitions.md")),
    ),
    "How-to": (
        ("", ("cookbook.md", "cookbook*.md", "cookbook/*.md", "how_to/*.md")),
        ("Data", ("data.md", "transforms.md", "class_balance.md", "multi_task.md", "annotat*.md", "streaming.md")),
        ("Training", ("config.md", "training.md", "several_machines.md", "sharded_models.md", "tips.md")),
        ("Prediction", ("refiners.md", "exports.md", "serving.md")),
        ("Extending", ("adding_an_architecture.md", "contributing.md")),
    ),
    "Reference": (
        (
            "",
            tuple(
                f"reference/{name}.md" for name in ("index", "python", "commands", "settings", "bases", "base_classes")
            ),
        ),
        ("Parts of a config", ("reference/*/index.md",)),
        ("Tables", ("model_zoo.md", "losses.md", "metrics.md", "errors.md", "box_supervised_rows.md")),
    ),
    "Background": (
        ("Recorded runs", ("results.md", "results_*.md", "benchmarks.md")),
        ("Choices", ("recipe.md", "searched_networks.md", "security.md")),
        ("The project", ("changelog.md",)),
    ),
}
"""Tab -> groups of (heading or "", patterns of pages under docs/ and of generated ones), each in its order."""

REST = ("How-to", "More")
"""Tab and group of pages that no pattern names."""

UNLISTED = ("reference/*/*.md", "files/*")
"""Pages that are reached by links and by the search, not from the navigation."""

Group = list[dict[str, "Group"] | str]


def is_unlisted(page: str) -> bool:
    return any(fnmatchcase(page, pattern) for pattern in UNLISTED) and not page.endswith("/index.md")


def navigation(pages: list[str]) -> list[dict[str, Group]]:
    """Returns the entry `nav` of mkdocs.yml.

    Args:
        pages: paths of all pages under the site's source folder.
    """
    left = sorted(page for page in pages if not is_unlisted(page) and not page.startswith("files/"))
    tabs: dict[str, Group] = {}
    for tab, groups in TABS.items():
        entries: Group = []
        for heading, patterns in groups:
            taken = []
            for pattern in patterns:
                taken += [page for page in left if fnmatchcase(page, pattern) and page not in taken]
            left = [page for page in left if page not in taken]
            entries += [{heading: list(taken)}] if heading and taken else taken
        tabs[tab] = entries
    if left:
        tabs[REST[0]].append({REST[1]: list(left)})
    return [{tab: entries} for tab, entries in tabs.items()]
