"""Prompt rules in ``tenants.yaml``: words and phrases that no prompt may hold, for all tenants or for one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.yaml_file import ConfigError, Location, locate

__all__ = ["PromptRule", "RuleName", "with_words"]

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
