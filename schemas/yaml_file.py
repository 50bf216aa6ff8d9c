"""YAML files that people write: read with messages that name file, line and field."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["ConfigError", "LiveFile", "Location", "MisplacedError", "locate", "read_yaml"]

_MAX_PROBLEMS = 8
Shape = TypeVar("Shape", bound=BaseModel)
Location = tuple[int | str, ...]


class ConfigError(Exception):
    """A file can't be used. The message has one line a problem: ``tenants.yaml:12: tenants.0.weight: …``."""


class MisplacedError(ValueError):
    """What a validator of a whole finds wrong with a part of it, and where that part lies below the whole."""

    def __init__(self, message: str, *location: int | str) -> None:
        super().__init__(message)
        self.location = location


def read_yaml(path: Path, shape: type[Shape]) -> Shape:
    """The content of a file, validated. Raises ``ConfigError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: is not YAML: {getattr(error, 'problem', error)}") from None
    _refuse_repeated_names(path, root)
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        lines = [_told(path, root, problem) for problem in problems[:_MAX_PROBLEMS]]
        if len(problems) > _MAX_PROBLEMS:
            lines.append(f"{path}: and {len(problems) - _MAX_PROBLEMS} more")
        raise ConfigError("\n".join(lines)) from None


def locate(path: Path, location: Location) -> str:
    """``file:line: field``, for a problem that only shows when what the file names is looked at."""
    return _place(path, yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), location)


def _told(path: Path, root: yaml.Node | None, problem: ErrorDetails) -> str:
    cause = problem.get("ctx", {}).get("error")
    location, message = problem["loc"], problem["msg"]
    if isinstance(cause, ValueError):
        location, message = (*location, *getattr(cause, "location", ())), str(cause)
    return f"{_place(path, root, location)}: {message}"


def _place(path: Path, root: yaml.Node | None, location: Location) -> str:
    return f"{path}:{_line(root, location)}: {'.'.join(map(str, location)) or 'file'}"


def _refuse_repeated_names(path: Path, root: yaml.Node | None) -> None:
    # YAML forbids them, PyYAML lets the last one win: a limit that stands twice would hold its other value.
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            names = set[str]()
            for name, value in node.value:
                if name.value in names and isinstance(name, yaml.ScalarNode):
                    raise ConfigError(f"{path}:{name.start_mark.line + 1}: {name.value}: stands twice in one place")
                if isinstance(name, yaml.ScalarNode):
                    names.add(name.value)
                waiting.append(value)


def _line(root: yaml.Node | None, location: Location) -> int:
    """The line of the deepest part of ``location`` that stands in the file."""
    node, line = root, 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


class LiveFile:
    """Tells when a file has changed. Compares content, not times: a mounted ConfigMap is swapped by a link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._digest()

    def changed(self) -> bool:
        """Whether the content differs from that of the last call. A file that is gone for a moment has not changed."""
        digest = self._digest()
        if digest is None or digest == self._seen:
            return False
        self._seen = digest
        return True

    def _digest(self) -> bytes | None:
        try:
            return hashlib.sha256(self.path.read_bytes()).digest()
        except OSError:
            return None
