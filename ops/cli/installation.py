"""The installation that a command speaks to: the settings in the environment, or else those of the local stack.

``easel up`` leaves an ``env`` file in its data directory. Commands started beside it take their settings from there,
unless the environment names a broker of its own: settings of two installations are never mixed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from ops.cli.terminal import CommandError, ExitCode
from schemas.settings import Settings
from schemas.signing import Signer, read_signing_key
from schemas.tenants import load_tenants

__all__ = [
    "BROKER_VARIABLE",
    "DATA_VARIABLE",
    "DEMO",
    "adopt",
    "data_dir",
    "is_set_up",
    "read_env",
    "role_environment",
    "role_file",
    "role_settings",
    "settings",
    "settings_of_installation",
    "signer_of",
    "write_env",
]

DATA_VARIABLE = "EASEL_DATA"
"""Names the data directory of the local stack, where it is not ``.easel``."""

BROKER_VARIABLE = "EASEL_KAFKA_BOOTSTRAP_SERVERS"
"""Set by hand, it says that an installation is meant that is not the local stack's."""

DEMO = "demo"
"""Folder of the demo's own stack in the data directory."""


def data_dir() -> Path:
    """The data directory: ``$EASEL_DATA``, else ``.easel`` here."""
    return Path(os.environ.get(DATA_VARIABLE) or ".easel")


def write_env(path: Path, variables: Mapping[str, str]) -> None:
    """Write settings as a file that ``read_env`` and a shell can read. It names secrets' files, and holds no secret."""
    lines = ["# Written by `easel up`: the settings of the stack that runs here. A shell may source it."]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    part = path.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)


def read_env(path: Path) -> dict[str, str]:
    """The variables in a file of ``write_env``; none if there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    words = [word for line in text.splitlines() for word in shlex.split(line, comments=True) if "=" in word]
    return dict(word.split("=", 1) for word in words)


def adopt() -> Path | None:
    """Put the local stack's settings into the environment, where they are not set. Returns the file they came from."""
    path = data_dir() / "env"
    if BROKER_VARIABLE in os.environ or not path.exists():
        return None
    for name, value in read_env(path).items():
        os.environ.setdefault(name, value)
    return path


def role_file(directory: Path, role: str) -> Path:
    """The settings of one role of a secure stack, which lie over those of ``env``."""
    return directory / f"env.{role}"


def role_environment(role: str) -> dict[str, str]:
    """What a service of the local stack signs in with, where that is secure; nothing for another installation.

    A variable that was set by hand wins.
    """
    common = read_env(data_dir() / "env")
    if not common or os.environ.get(BROKER_VARIABLE) != common.get(BROKER_VARIABLE):
        return {}
    own = read_env(role_file(data_dir(), role))
    return {name: value for name, value in own.items() if os.environ.get(name) == common.get(name)}


def role_settings(role: str) -> Settings:
    """As ``settings``, signed in as one role where this is a secure local stack."""
    adopt()
    before = dict(os.environ)
    os.environ.update(role_environment(role))
    try:
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(before)


def settings() -> Settings:
    """The settings of this command. Raises ``ValidationError``, ``SettingsError`` or ``OSError``."""
    adopt()
    return Settings()


def is_set_up() -> bool:
    """Whether anything here says which broker is meant; else it is the default address."""
    return BROKER_VARIABLE in os.environ or (data_dir() / "env").exists()


def settings_of_installation() -> Settings:
    """As ``settings``, for a command that needs an installation. Raises ``CommandError`` where nothing names one."""
    found = settings()
    if not is_set_up() and not found.tenants.exists():
        raise CommandError(
            "no installation is set up here",
            f"`easel up` starts one on this machine; for another one set {BROKER_VARIABLE} and EASEL_TENANTS",
            code=ExitCode.SETUP,
        )
    return found


def signer_of(tenant: str, found: Settings, *, key_file: Path | None, kid: str | None) -> Signer:
    """What signs for a tenant: the key named, else one of its keys whose private half lies in the data directory.

    Raises ``CommandError``.
    """
    if key_file is None and os.environ.get("EASEL_TENANT") == tenant and (named := os.environ.get("EASEL_KEY_FILE")):
        key_file, kid = Path(named), kid or os.environ.get("EASEL_KID")
    if key_file is None:
        key_file = _kept_key(tenant, found)
    try:
        algorithm, key = read_signing_key(key_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"the key {key_file} can't be read: {error.strerror}", code=ExitCode.SETUP) from None
    except ValueError as error:
        raise CommandError(f"{key_file}: {error}", code=ExitCode.SETUP) from None
    return Signer(kid=kid or key_file.stem, algorithm=algorithm, key=key, issuer=tenant, audience=found.installation)


def _kept_key(tenant: str, found: Settings) -> Path:
    directory = load_tenants(found.tenants)
    entry = directory.tenants.get(tenant)
    if entry is None:
        known = ", ".join(sorted(directory.tenants))
        raise CommandError(f"there is no tenant {tenant!r} in {found.tenants}", f"it has {known}", code=ExitCode.SETUP)
    for key in entry.keys:
        path = found.tenants.parent / "keys" / f"{key.kid}.key"
        if path.exists():
            return path
    raise CommandError(
        f"no private key of the tenant {tenant!r} lies in {found.tenants.parent / 'keys'}",
        "name one with --key and --kid, or make one with `easel keys new`",
        code=ExitCode.SETUP,
    )
