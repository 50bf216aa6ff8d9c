"""``easel keys``: keys for publishers and for the HTTP API."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ops.cli.installation import data_dir
from ops.cli.material import make_api_key, make_key, write_private
from ops.cli.terminal import EPILOG, CommandError, ExitCode, epilog, err, out, print_json
from producer_api.login.passwords import MAX_PASSWORD_CHARS, hashed
from schemas.signing import ALGORITHMS, Algorithm
from schemas.tenant_keys import Key
from schemas.tenants import ApiKey
from schemas.users import User
from schemas.webhook_entries import NAME, make_secret

app = typer.Typer(no_args_is_help=True, help="Make keys that sign requests, and keys for the HTTP API.", epilog=EPILOG)

_NAMES = "use letters, digits and . _ : -, beginning with a letter or digit"
_JSON = Annotated[bool, typer.Option("--json", help="One line of JSON instead of text.")]


def _named(name: str, prefix: str) -> str:
    return name or f"{prefix}-{secrets.token_hex(4)}"


@app.command(epilog=epilog("easel keys new --kid cms-2026-11", "easel keys new --alg ES256 --out secrets/"))
def new(
    alg: Annotated[str, typer.Option(help="EdDSA, ES256, RS256 or HS256.", case_sensitive=False)] = "EdDSA",
    kid: Annotated[str, typer.Option(help="The key's name. Drawn when absent.", show_default=False)] = "",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the private key (default: keys/ in the data directory).")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Make a key that signs requests: a private file (mode 0600), and its entry for tenants.yaml on standard output."""
    algorithm = _algorithm(alg)
    kid = _named(kid, "key")
    material = make_key(algorithm)
    path = ((folder or data_dir() / "keys") / f"{kid}.key").resolve()
    # The entry is checked before anything is written: a name that tenants.yaml would refuse leaves no file behind.
    entry = _entry(kid, algorithm, material.public, path)
    write_private(path, material.private)
    if as_json:
        print_json({"kid": kid, "alg": algorithm, "private_key_file": str(path), "entry": entry})
        return
    half = "shared secret" if algorithm == "HS256" else "private key"
    err.print(f"The {half} is in {path}; only you can read it. This goes under the tenant's keys in tenants.yaml:")
    out.print("\n".join(_yaml(entry)), markup=False)


@app.command(epilog=epilog("easel keys api --id website"))
def api(
    key_id: Annotated[str, typer.Option("--id", help="The key's name. Drawn when absent.", show_default=False)] = "",
    as_json: _JSON = False,
) -> None:
    """Make a key for the HTTP API. It is shown once: tenants.yaml keeps its hash alone."""
    material = make_api_key()
    entry = {"id": _named(key_id, "api"), "sha256": material.sha256}
    _valid(ApiKey, entry)
    if as_json:
        print_json({"key": material.key, "entry": entry})
        return
    err.print("The key, shown this once; below it what goes under the tenant's api_keys in tenants.yaml:")
    out.print("\n".join([material.key, "", *_yaml(entry)]), markup=False)


@app.command(epilog=epilog("easel keys user anna --tenant canvas", "easel keys user anna --tenant canvas < password"))
def user(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    tenant: Annotated[str, typer.Option(help="The tenant for whom the user asks.")],
    requests_per_minute: Annotated[
        int | None, typer.Option(help="What the user may ask for, within what the tenant may.", show_default=False)
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Make the entry of a user who signs in over HTTP, for the file that EASEL_API_USERS_FILE names.

    The password is asked for, or read from standard input; the entry holds its hash alone.
    """
    entry: dict[str, Any] = {"user": name, "tenant": tenant, "password": hashed(_password())}
    if requests_per_minute is not None:
        entry["requests_per_minute"] = requests_per_minute
    try:
        User.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise CommandError(f"{first['loc'][0]}: {first['msg']}", code=ExitCode.USAGE) from None
    if as_json:
        print_json({"entry": entry})
        return
    err.print("This goes under users in the file that EASEL_API_USERS_FILE names:")
    out.print("\n".join(_yaml({key: json.dumps(value) for key, value in entry.items()})), markup=False)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    password = sys.stdin.readline(MAX_PASSWORD_CHARS + 1).rstrip("\r\n")
    if not 0 < len(password) <= MAX_PASSWORD_CHARS:
        raise CommandError(
            "no password was given",
            f"write one line of up to {MAX_PASSWORD_CHARS} characters to standard input",
            code=ExitCode.USAGE,
        )
    return password


@app.command(epilog=epilog("easel keys webhook --name cms", "easel keys webhook --name cms-2 --out config/secrets"))
def webhook(
    name: Annotated[str, typer.Option(help="The endpoint's name. Drawn when absent.", show_default=False)] = "",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the secret (default: keys/ in the data directory).")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Make the secret of a webhook: a file (mode 0600), and its entry for tenants.yaml on standard output."""
    name = _named(name, "hook")
    path = ((folder or data_dir() / "keys") / f"{name}.webhook").resolve()
    secret = make_secret()
    entry = {"secret_file": str(path)}
    if not NAME.fullmatch(name):
        raise CommandError(f"{name!r} can't be the name of an endpoint", _NAMES.replace(": ", ""), code=ExitCode.USAGE)
    write_private(path, secret + "\n")
    if as_json:
        print_json({"name": name, "secret_file": str(path), "entry": entry})
        return
    err.print(
        f"The secret is in {path}; its receiver needs it too. This goes under the webhook's secrets in tenants.yaml:"
    )
    out.print("\n".join(_yaml(entry)), markup=False)


def _algorithm(text: str) -> Algorithm:
    for known in ALGORITHMS:
        if known.lower() == text.lower():
            return known
    raise CommandError(f"{text!r} is not an algorithm", f"use {', '.join(ALGORITHMS)}", code=ExitCode.USAGE)


def _entry(kid: str, algorithm: Algorithm, public: str | None, path: Path) -> dict[str, str]:
    source = {"secret_file": str(path)} if public is None else {"public_key": public}
    entry = {"kid": kid, "alg": algorithm, **source}
    _valid(Key, entry)
    return entry


def _valid(shape: type[Key | ApiKey], entry: dict[str, Any]) -> None:
    try:
        shape.model_validate(entry)
    except ValueError:
        name = entry.get("kid") or entry.get("id")
        raise CommandError(
            f"{name!r} can't be the name of a key",
            _NAMES,
            code=ExitCode.USAGE,
        ) from None


def _yaml(entry: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for name, value in entry.items():
        block = value.rstrip("\n").split("\n")
        lines += [f"  {name}: {value}"] if len(block) == 1 else [f"  {name}: |", *(f"    {line}" for line in block)]
    return ["- " + lines[0].strip(), *lines[1:]]
