"""Reading and writing the training configuration: what `plan` writes, people edit, and `train` obeys."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import read_text, write_text
from LandmarkDetectionLib.training.base import GENTLER, PART
from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.training.planning.budget import timing
from LandmarkDetectionLib.training.sections import Section, TrainingConfig


def read_config(path: Path, overrides: tuple[str, ...] = (), base: Path | None = None) -> TrainingConfig:
    """Read and validate `config.yaml`.

    Paths in the file are taken relative to it and returned absolute.

    Args:
        path: the file.
        overrides: `section.key=value` texts, values in YAML.
        base: the folder of a model to go on from, whatever the file says. Where that begins anew, a tenth of
            its epochs and a third of its learning rate are taken, unless `overrides` say otherwise.

    Raises:
        InputError: naming the file, the field and what it may be.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such configuration; make one with `train_cli plan`.")
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError of a date or a number
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise InputError(
            f"{path}{line}: this is not valid YAML; correct it or run `train_cli plan` again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: this is no configuration; give the config.yaml that `train_cli plan` wrote."
        )
    if base is not None:
        _go_on_from(base, content, path)
    for override in overrides:
        _apply_override(content, override)
    try:
        config = _class_for(content, path).model_validate(content)
    except ValidationError as error:
        changes = "".join(f" --set {override}" for override in overrides)
        place = f"{path} with{changes}" if changes else str(path)
        raise InputError(f"{place}: {_first_problem(error, content)}") from error
    return _with_absolute_paths(config, path.parent)


def as_override(key: str, value: Any) -> str:
    """The text by which `read_config` gives a key a value, of Python's or NumPy's types, or a path."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return f"{key}={_dumped(str(value) if isinstance(value, Path) else value)}"


def _class_for(content: dict[str, Any], path: Path) -> type[TrainingConfig]:
    engine = content.get("engine")
    if engine not in ENGINES:
        raise InputError(f"{path}: the engine is {engine!r}; write {' or '.join(ENGINES)}.")
    return ENGINES[engine].config


def write_config(config: TrainingConfig, path: Path, *, header: str) -> None:
    """Write `config.yaml` with the meaning of every value beside it; paths inside become relative to it.

    Args:
        config: the configuration.
        path: the file.
        header: lines that explain how the values were chosen, put on top as comments.
    """
    text = io.StringIO()
    for line in header.splitlines():
        text.write(f"# {line}".rstrip() + "\n")
    _write_section(text, config, depth=0, folder=Path(path).parent.resolve())
    write_text(Path(path), text.getvalue())


def _write_section(text: io.StringIO, section: BaseModel, *, depth: int, folder: Path) -> None:
    indent = "  " * depth
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            text.write(f"\n{indent}{key}:  # {field.description}\n")
            _write_section(text, value, depth=depth + 1, folder=folder)
        else:
            text.write(f"{indent}{key}: {_scalar(value, folder)}  # {field.description}\n")


def _scalar(value: Any, folder: Path) -> str:
    if isinstance(value, Path):
        value = _relative(value, folder)
    return _dumped(value)


def _dumped(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, tuple):
        value = list(value)
    dumped: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()


def _with_absolute_paths(config: TrainingConfig, folder: Path) -> TrainingConfig:
    sections = {}
    for key, section in (("data", config.data), ("training", config.training)):
        absolute = {name: (folder / value).resolve() for name, value in section if isinstance(value, Path)}
        sections[key] = section.model_copy(update=absolute)
    return config.model_copy(update=sections)


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, last = key.split(".")
    target: Any = content
    for section in sections:
        target = target.get(section) if isinstance(target, dict) else None
    if not equals or not isinstance(target, dict):
        raise InputError(
            f"--set {override}: the configuration has no such key; write section.key=value"
            f"{_suggestion(key, content)}."
        )
    try:
        target[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"--set {override}: the value is not valid YAML; quote it.") from error


def _go_on_from(base: Path, content: dict[str, Any], path: Path) -> None:
    """Give the content of a configuration a model to go on from, and the steps that are enough then."""
    training = content.get("training")
    if not isinstance(training, dict):
        raise InputError(f"{path}: the key 'training' is missing; add it or run `train_cli plan` again.")
    if training.get("base") is None:
        epochs = max(round(_number(training, "epochs", path) / PART), 2)
        rate = _number(training, "learning_rate", path) / GENTLER
        training |= {"epochs": epochs, "learning_rate": float(f"{rate:.3g}"), **timing(epochs)}
    training["base"] = str(base.resolve())


def _number(training: dict[str, Any], key: str, path: Path) -> float:
    """A number of the section `training`, before it is validated; YAML takes 2e-3 for a text."""
    try:
        return float(training.get(key, ""))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: 'training.{key}' is no number; correct it.") from error


def _suggestion(key: str, content: dict[str, Any]) -> str:
    """The key that was perhaps meant, as a part of a sentence."""
    keys = [known for known in _keys(content) if known != key]
    last = key.rpartition(".")[2]
    alike = [known for known in keys if known.endswith(f".{last}")]
    meant = get_close_matches(key, alike, n=1, cutoff=0.0) or get_close_matches(key, keys, n=1)
    return f", perhaps {meant[0]}" if meant else ""


def _keys(content: dict[str, Any], section: str = "") -> Iterator[str]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{section}{name}.")
        else:
            yield f"{section}{name}"


def _first_problem(error: ValidationError, content: dict[str, Any]) -> str:
    problem = error.errors()[0]
    names = [part for part in problem["loc"] if isinstance(part, str)]
    where, found = ".".join(names), problem["input"]
    if problem["type"] == "value_error":  # between several keys: one of our own sentences, which names them
        return f"{': '.join([*names, str(problem['ctx']['error'])])}; correct it."
    if problem["type"] == "extra_forbidden":
        return f"the key '{where}' is not known{_suggestion(where, content)}; correct its name or remove it."
    if problem["type"] == "missing" and isinstance(found, dict):
        return f"the key '{where}' is missing; add it or run `train_cli plan` again."
    if problem["type"] == "missing":
        return f"'{where}' is {found!r}, which is too short; correct it."
    what = problem["msg"]
    return f"'{where}' is {found!r}, but {what[:1].lower() + what[1:]}; correct it."
