"""The reference of what is no registered class: Python functions, classes to build on, settings, commands."""

import contextlib
import functools
import importlib
import inspect
import io
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any
from unittest.mock import patch

import segkit
from segkit import api
from segkit.cli.main import COMMANDS, main
from segkit.constraints.check import annotations
from segkit.schema import EXTRA_KEYS, PLAIN
from segkit.settings import OptimizerSettings, RowSettings
from website import docstrings
from website.docstrings import markdown, paragraph
from website.pages import Site
from website.since import note
from website.tables import names_that_lead_nowhere, table_of, types_of, values_in_words

BASES = (
    "segkit.models.bases:Network",
    "segkit.models.bases:Backbone",
    "segkit.models.bases:Head",
    "segkit.models.segmentor:Segmentor",
    "segkit.losses.base:Loss",
    "segkit.losses.weighting:Weighting",
    "segkit.data.dataset:Dataset",
    "segkit.data.samplers:Sampler",
    "segkit.metrics.base:Metric",
    "segkit.engine.schedules:Schedule",
    "segkit.engine.hooks:Hook",
    "segkit.engine.loop:Loop",
    "segkit.runners.base:Runner",
    "segkit.refiners.base:Refiner",
    "segkit.criterion:Criterion",
)
"""Classes that others derive from or receive."""

ERRORS = (
    "segkit.registry:ConfigError",
    "segkit.files:DataError",
    "segkit.engine.checkpoint:CheckpointError",
    "segkit.engine.terms:NonFiniteLoss",
)
"""What the public functions raise."""

RESULTS = ("segkit.api:TrainResult", "segkit.runners.interactive.predictor:ClickPredictor")
"""Objects that public functions return."""

ROW_SETTINGS = {"losses[]": RowSettings, "optimizer": OptimizerSettings}
"""Keys beside the arguments of a registered class, by position in the config."""


def add_functions(site: Site) -> None:
    """Writes the pages on functions, base classes, settings and commands; gaps become problems of the site."""
    site.write("reference/python.md", python_page(site))
    site.write("reference/base_classes.md", bases_page(site))
    site.write("reference/settings.md", settings_page(site))
    site.write("reference/commands.md", commands_page())


def found(name: str) -> Any:
    """name: "module:attribute" -> the object."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def signature_of(name: str, function: Callable[..., Any]) -> str:
    """The call as code, one line where it fits and else a line per argument."""
    inner = []
    for parameter in inspect.signature(function).parameters.values():
        text = str(parameter.replace(annotation=inspect.Parameter.empty))
        is_first = parameter.kind is parameter.KEYWORD_ONLY and not any("*" in other for other in inner)
        inner += ["*", text] if is_first else [text]
    inner = [text for text in inner if text != "self"]
    line = f"{name}({', '.join(inner)})"
    if len(line) <= 88:
        return f"```python\n{line}\n```"
    return "```python\n" + f"{name}(\n" + "".join(f"    {text},\n" for text in inner) + ")\n```"


def described(title: str, call: str, function: Callable[..., Any], site: Site, level: int = 2) -> list[str]:
    """Heading, call, docstring and table of one function."""
    doc = docstrings.parse(function.__doc__)
    place = f"{function.__module__}.{function.__qualname__}"
    if not function.__doc__:
        site.problems.append(f"{place}: no docstring")
    parameters = {name: value for name, value in inspect.signature(function).parameters.items() if name != "self"}
    texts = docstrings.arguments_of(function) if isinstance(function, type) else doc.arguments
    lacking = [name for name in parameters if name not in texts]
    if lacking:
        site.problems.append(f"{place}: the docstring does not say what {', '.join(lacking)} is")
    site.problems += names_that_lead_nowhere(function.__doc__, place)
    parts = [f"{'#' * level} {title}", signature_of(call, function), markdown(doc.summary), *map(paragraph, doc.body)]
    parts += [table_of(parameters, types_of(function), texts)] if parameters else []
    for name, entries in doc.sections.items():
        parts += [f"*{name}*", "\n".join(f"- {markdown(entry)}" for entry in entries)]
    return parts


def python_page(site: Site) -> str:
    """The functions of `import segkit`, what they return and raise, and the other names of segkit.api."""
    parts = ["# Python", "`import segkit` hands out these functions; each is imported when it is first used."]
    for name in segkit.__all__:
        parts += described(name, f"segkit.{name}", getattr(segkit, name), site)
    parts += ["## What they return"]
    for name in RESULTS:
        cls = found(name)
        parts += described(cls.__name__, cls.__name__, cls, site, level=3)
    parts += ["## More of segkit.api"]
    for name in api.__all__:
        if name not in segkit.__all__ and not isinstance(getattr(api, name), type):
            parts += described(name, f"segkit.api.{name}", getattr(api, name), site, level=3)
    parts += ["## Errors"]
    for name in ERRORS:
        cls = found(name)
        parts += [f"### {cls.__name__}", f"`{name.replace(':', '.')}`", markdown(docstrings.parse(cls.__doc__).summary)]
    return "\n\n".join(parts) + "\n"


def bases_page(site: Site) -> str:
    """What a class of one's own derives from, with the methods that it may define."""
    parts = [
        "# Classes to build on",
        "A class of your own derives from one of these and is named in a config as `my_package.my_module:MyClass`. A "
        "transform is any object that is called as `transform(sample, rng)`. "
        "[Adding an architecture](../adding_an_architecture.md) has one from the first line to its test.",
    ]
    for name in BASES:
        cls = found(name)
        doc = docstrings.parse(cls.__doc__)
        parts += [f"## {cls.__name__}", f"`{name}`", markdown(doc.summary), *map(paragraph, doc.body)]
        if not cls.__doc__:
            site.problems.append(f"{name}: no docstring")
        parts += ["\n".join(f"- `{key}`: {markdown(text)}" for key, text in doc.arguments.items())]
        rows = ["| method | what it does |", "|---|---|"]
        for key, value in vars(cls).items():
            method = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            is_public = not key.startswith("_") and callable(method) and not isinstance(method, type)
            if not is_public or isinstance(value, functools.partial):
                continue
            text = inspect.getdoc(getattr(cls, key))
            if not text:
                site.problems.append(f"{name}.{key}: no docstring")
            names = [p for p in inspect.signature(method).parameters if p not in ("self", "cls")]
            call = key if isinstance(value, property) else f"{key}({', '.join(names)})"
            rows.append(f"| `{call}` | {docstrings.cell(markdown(docstrings.parse(text).summary))} |")
        parts += ["\n".join(rows)] if len(rows) > 2 else []
    return "\n\n".join(part for part in parts if part) + "\n"


def settings_page(site: Site) -> str:
    """Every key of the sections that are built from no registry."""
    parts = [
        "# Settings",
        "The keys of the sections of a config that have no `type`, and those beside the arguments of a class that has "
        "one. [Config files](../config.md) says how sections and files fit together.",
    ]
    shown: dict[type, str] = {}
    for position, cls in {**PLAIN, **ROW_SETTINGS}.items():
        if "*" in position or position.startswith("test.") or (cls in shown and position != "val"):
            continue
        shown[cls] = position
        doc, texts = docstrings.parse(cls.__doc__), docstrings.arguments_of(cls)
        parameters = {}
        for field in fields(cls):
            default = field.default if field.default is not MISSING else inspect.Parameter.empty
            default = field.default_factory() if field.default_factory is not MISSING else default
            parameters[field.name] = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default)
        lacking = [name for name in parameters if name not in texts]
        if lacking:
            site.problems.append(f"{cls.__module__}.{cls.__name__}: the docstring does not say what {lacking} is")
        keys = EXTRA_KEYS.get(position)
        title = f"{position}: keys beside the arguments" if keys else position
        parts += [f"## {title}", markdown(doc.summary), *map(paragraph, doc.body)]
        parts += [table_of(parameters, values_in_words(annotations(cls)), texts)]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """The help of every command."""
    parts = ["# Commands", "`segkit COMMAND --help` prints the same. Each command returns 0 where all went well."]
    rows = ["| command | what it does |", "|---|---|"]
    rows += [f"| [segkit {name}](#segkit-{name}) | {text} |" for name, text in COMMANDS.items()]
    parts += ["\n".join(rows)]
    for name in COMMANDS:
        since_line = f"<small>{note('commands', name, '../changelog.md')}</small>"
        parts += [f"## segkit {name}", since_line, f"```text\n{help_of(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def help_of(name: str) -> str:
    """What `segkit NAME --help` prints, at a width of 96 characters."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit), patch.dict(os.environ, COLUMNS="96"):
        main([name, "--help"])
    return text.getvalue().strip()
