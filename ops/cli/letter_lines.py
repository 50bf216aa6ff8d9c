"""Dead letters as the command shows them. What a stranger wrote reaches no terminal unescaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ops.cli.times import clock
from ops.dead_letters.letters import SIGNATURE, Letter, Place, content_of, token_of

__all__ = ["letter_as_json", "letter_as_line", "letter_in_full", "letter_in_full_as_json", "letter_table"]

_CONTENT = {"key_base64", "value_base64", "headers"}
"""The record itself: up to 1 MiB, with its sender's token. It stays in the topic."""
_SIGNATURE_KEPT = "…"


def letter_as_json(letter: Letter) -> dict[str, Any]:
    """Place, cause, origin and size, without the content."""
    data = letter.content.model_dump(mode="json", exclude=_CONTENT)
    return {"place": str(letter.place), "time_ms": letter.at_ms, "type": letter.content.TYPE, "data": data}


def letter_as_line(letter: Letter) -> Text:
    """The same for people, in one line."""
    content = letter.content
    text = Text(f"{clock(letter.at_ms)}  {letter.place}  ", style="dim")
    text.append(str(content.cause.code), style="red")
    text.append(f": {_printable(content.cause.message)}")
    return text.append(f"  {letter.origin}, {content.value_bytes:,} bytes", style="dim")


def letter_table(letters: Sequence[Letter], replayed: Mapping[Place, int], prefix: str) -> Table:
    """One row a letter."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("place", "time", "code"):
        table.add_column(name, no_wrap=True)
    table.add_column("tenant", overflow="fold")
    table.add_column("from", overflow="fold")
    table.add_column("bytes", justify="right")
    table.add_column("replayed", no_wrap=True)
    for letter in letters:
        at = replayed.get(letter.place)
        table.add_row(
            str(letter.place),
            clock(letter.at_ms)[5:16],
            str(letter.content.cause.code),
            letter.tenant or "–",
            letter.origin.removeprefix(f"{prefix}."),
            f"{letter.content.value_bytes:,}",
            "–" if at is None else clock(at)[5:16],
        )
    return table


def letter_in_full(letter: Letter, replayed_ms: int | None, *, body: bool) -> Iterator[tuple[str, str]]:
    """Everything about a letter, by name. Its value, and the signature in its token, only with ``body``."""
    content = letter.content
    yield "place", str(letter.place)
    yield "time", clock(letter.at_ms)
    yield "cause", f"{content.cause.code}: {_printable(content.cause.message)}"
    yield "stage", content.stage
    yield "from", f"{letter.origin}, appended {clock(content.appended_ms)}"
    yield "replayed", "no" if replayed_ms is None else clock(replayed_ms)
    yield "whole", "no: it was too large" if content.truncated else "yes"
    value, headers = content_of(content)
    for name, raw in headers:
        if name == SIGNATURE and not body:
            yield name, f"{len(raw or b''):,} bytes; what it says is below, nobody has verified it"
        else:
            yield _printable(name), _printable(_header(name, raw or b"", whole=body))
    for name, part in zip(("token header", "token claims"), token_of(content), strict=True):
        if part:
            yield name, _printable(", ".join(f"{key}={what}" for key, what in part.items()))
    yield "value", f"{content.value_bytes:,} bytes, sha256 {content.value_sha256}"
    if body and value is not None:
        yield "body", _printable(value.decode("utf-8", "backslashreplace"))


def letter_in_full_as_json(letter: Letter, replayed_ms: int | None, *, body: bool) -> dict[str, Any]:
    """The same for programs."""
    value, headers = content_of(letter.content)
    shown: dict[str, Any] = {
        **letter_as_json(letter),
        "replayed_ms": replayed_ms,
        "tenant_unverified": letter.tenant,
        "headers": [[name, _header(name, raw or b"", whole=body)] for name, raw in headers],
    }
    if body:
        shown |= {"value": None if value is None else value.decode("utf-8", "backslashreplace")}
    return shown


def _header(name: str, raw: bytes, *, whole: bool) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    if whole or name != SIGNATURE:
        return text
    # With its signature, whoever sees the terminal could send the request.
    return ".".join([*text.split(".")[:2], _SIGNATURE_KEPT])


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )
