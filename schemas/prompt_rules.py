"""Prompt rules in ``tenants.yaml``: words and phrases that no prompt may hold, for all tenants or for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.yaml_file import ConfigError, Location, MisplacedError, locate

__all__ = ["PromptRule", "RuleName", "require_known_names", "with_words"]

RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


def _says_something(entry: str) -> str:
    if not any(character.isalnum() for character in entry):
        raise ValueError("holds neither a letter nor a digit")
    return entry


Entry = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_says_something)]


class PromptRule(BaseModel):
    """Words and phrases under a name, which is all of it that a tenant is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RuleName
    block: tuple[Entry, ...] = ()
    """Words and phrases; one that ends in ``*`` also blocks what begins with it."""
    file: Path | None = None
    """More of them, one a line; taken from the folder of this file, and read when it is."""
    allow: tuple[Entry, ...] = ()
    """Phrases in which a blocked word may stand."""
    negative_prompt: bool = True
    """Look at negative prompts too; ``false`` lets them name what is to be kept out of a picture."""

    @model_validator(mode="after")
    def _blocks_something(self) -> PromptRule:
        if not self.block and self.file is None:
            raise ValueError("blocks nothing: it needs block or file")
        return self


def require_known_names(
    common: Sequence[PromptRule], tenants: Sequence[tuple[Sequence[PromptRule], frozenset[str]]]
) -> None:
    """Each name once among the rules for all and a tenant's own; it is exempt from rules that there are.

    ``tenants``: the own rules of each, and what it is exempt from. Raises ``MisplacedError``.
    """
    known = set[str]()
    for i, rule in enumerate(common):
        if rule.name in known:
            raise MisplacedError(f"prompt rule {rule.name!r} stands twice", "prompt_rules", i, "name")
        known.add(rule.name)
    for i, (own, exempt_from) in enumerate(tenants):
        names = set(known)
        for r, rule in enumerate(own):
            if rule.name in names:
                message = f"prompt rule {rule.name!r} stands twice"
                raise MisplacedError(message, "tenants", i, "prompt_rules", r, "name")
            names.add(rule.name)
        if others := sorted(exempt_from - known):
            raise MisplacedError(f"{others[0]!r} is no rule for all tenants", "tenants", i, "exempt_from")


class _Words(BaseModel):
    words: Annotated[tuple[Entry, ...], Field(min_length=1)]


def with_words(rules: tuple[PromptRule, ...], file: Path, owner: Location) -> tuple[PromptRule, ...]:
    """The rules at ``owner`` in ``file``, with the words of the files that they name. Raises ``ConfigError``."""

    def complete(index: int, rule: PromptRule) -> PromptRule:
        if rule.file is None:
            return rule
        try:
            words = _read_words(file.parent / rule.file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is empty, or a line of it is no word"
            place = locate(file, (*owner, "prompt_rules", index, "file"))
            raise ConfigError(f"{place}: {rule.file} can't be used: {reason}") from None
        return rule.model_copy(update={"block": (*rule.block, *words), "file": None})

    return tuple(complete(index, rule) for index, rule in enumerate(rules))


def _read_words(path: Path) -> tuple[str, ...]:
    # One a line; a line that begins with # is a comment.
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return _Words(words=tuple(line for line in lines if line and not line.startswith("#"))).words
