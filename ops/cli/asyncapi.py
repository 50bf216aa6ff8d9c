"""``easel asyncapi``: the contract with other systems, printed, written, or compared with an earlier one."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.terminal import CommandError, ExitCode, out

__all__ = ["asyncapi"]


def asyncapi(
    write: Annotated[
        Path | None, typer.Option(help="Write asyncapi.yaml, contract.html and schema/events/ below this folder.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with this earlier asyncapi.yaml; exit code 1 if anything breaks.")
    ] = None,
) -> None:
    """Print the AsyncAPI document of everything that other systems may publish and read."""
    # pydantic makes the schemas of some thirty shapes: the other commands do without.
    from schemas.asyncapi.document import document
    from schemas.asyncapi.files import contract_files, to_yaml

    if write is not None:
        for path, content in contract_files(_version()).items():
            target = write / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        out.print(f"written below {write}", markup=False)
    if against is not None:
        _compare(against)
    if write is None and against is None:
        sys.stdout.write(to_yaml(document(_version())))


def _compare(path: Path) -> None:
    from schemas.asyncapi.changes import breaking
    from schemas.asyncapi.document import document
    from schemas.asyncapi.files import read_contract

    try:
        earlier = read_contract(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CommandError(f"{path} can't be compared with: {error}") from None
    found = breaking(earlier, document(_version()))
    for change in found:
        out.print(str(change), style="red", markup=False)
    if found:
        raise typer.Exit(ExitCode.FAILED)
    out.print(f"nothing in {path} is broken", markup=False)


def _version() -> str:
    try:
        return version("easel")
    except PackageNotFoundError:
        return "0.0.0"
