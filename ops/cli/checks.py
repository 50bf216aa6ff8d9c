"""What ``easel doctor`` looks at. Each check says how it is, and what to do where it is not as it must be."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import SettingsError

from consumer.admission.init import specs_of
from consumer.engine.weights import unusable_files
from ops.cli.installation import data_dir, settings
from ops.cli.terminal import explain
from ops.cli.topics import summed_up
from ops.local.errors import LocalStackError
from ops.local.java import find_java
from ops.local.minio import GO_REMEDY, built_minio, has_go
from schemas.catalog import Catalog, load_catalog
from schemas.settings import Settings
from schemas.signing import read_signing_key
from schemas.tenants import Directory, load_tenants
from schemas.yaml_file import ConfigError
from transport.errors import Misconfigured, TransportError
from transport.objects import ObjectStore
from transport.topics import check_topics

__all__ = ["Check", "Configuration", "configuration", "local_checks", "reach_checks"]

_EXTRAS = {
    "api": ("fastapi", "uvicorn"),
    "worker": ("torch", "diffusers", "transformers", "safetensors", "PIL"),
    "local": ("psutil", "jgo"),
}
_FREE_GIB = 2.0
_CALL_S = 8.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``remedy`` is empty where nothing is to be done."""

    name: str
    state: Literal["ok", "warning", "wrong"]
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What could be read of the installation's settings and files."""

    checks: list[Check]
    settings: Settings | None = None
    catalog: Catalog | None = None
    directory: Directory | None = None


def local_checks() -> Iterator[Check]:
    """This machine: Python, packages, Java, a store, room, and who may read the keys."""
    yield Check("python", "ok", sys.version.partition(" ")[0])
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            remedy = f"pip install '.[{extra}]' in a clone of easel"
            yield Check(extra, "warning", f"not installed: {', '.join(missing)}", remedy)
        else:
            yield Check(extra, "ok", "its packages are installed")
    try:
        java = find_java()
        yield Check("java", "ok", f"version {java.major}: {java.path}")
    except LocalStackError as error:
        yield Check("java", "warning", str(error), "needed for `easel up` alone")
    if built_minio() or has_go():
        yield Check("minio", "ok", "built" if built_minio() else "will be built by `easel up`, once")
    else:
        yield Check("minio", "warning", "not built, and no Go to build it: the demo uses rclone instead", GO_REMEDY)
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    enough = free >= _FREE_GIB
    yield Check("disk", "ok" if enough else "warning", f"{free:.1f} GiB free", "" if enough else "make room")
    yield from _key_files(data_dir())


def _key_files(directory: Path) -> Iterator[Check]:
    folder = directory / "keys"
    files = [*folder.glob("*.key"), *folder.glob("*.api-key"), *folder.glob("store.*")]
    files += [*(directory / "tls").glob("*.key"), *(directory / "users").glob("*")]
    shared = [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in shared:
        yield Check("keys", "wrong", f"others may read {path}", f"chmod 600 {path}")
    if files and not shared:
        yield Check("keys", "ok", f"{len(files)} in {directory}, for you alone")


def configuration() -> Configuration:
    """Settings, tenants and models, as far as they can be read."""
    checks: list[Check] = []
    try:
        found = settings()
    except (ValidationError, SettingsError, OSError) as error:
        return Configuration([Check("settings", "wrong", explain(error)[0], "correct the variable, or unset it")])
    checks.append(Check("settings", "ok", f"installation {found.installation!r}, topics {found.kafka.prefix!r}.*"))
    directory: Directory | None = None
    catalog: Catalog | None = None
    try:
        directory = load_tenants(found.tenants)
        detail = f"version {directory.version}: {len(directory.tenants)} tenants in {found.tenants}"
        checks.append(Check("tenants", "ok", detail))
        checks.append(_api_key(found, directory))
    except ConfigError as error:
        remedy = "correct the file; or `easel up` makes one, with keys" if found.tenants.exists() else "`easel up`"
        checks.append(Check("tenants", "wrong", str(error), f"{remedy}; tenants.example.yaml shows the shape"))
    try:
        catalog = load_catalog(found.models)
        checks.append(Check("models", "ok", f"{', '.join(sorted(catalog.models))} in {found.models}"))
        checks += _models(found, catalog)
    except ConfigError as error:
        checks.append(Check("models", "wrong", str(error), "correct the file, or set EASEL_MODELS"))
    return Configuration(checks, found, catalog, directory)


def _api_key(found: Settings, directory: Directory) -> Check:
    if found.api.signing_key is None:
        return Check("api key", "warning", "the API can't sign", "set EASEL_API_SIGNING_KEY_FILE to run `easel api`")
    entry = directory.keys.get(found.api.signing_kid)
    if entry is None or entry.issuer != found.api.issuer:
        remedy = f"add it there under issuers ({found.api.issuer!r}), or set EASEL_API_SIGNING_KID"
        return Check("api key", "wrong", f"{found.tenants} has no key {found.api.signing_kid!r} of the API", remedy)
    try:
        algorithm, _ = read_signing_key(found.api.signing_key.get_secret_value())
    except ValueError as error:
        return Check("api key", "wrong", str(error), "see `easel keys new`")
    if algorithm != entry.algorithm:
        detail = f"the API signs with {algorithm}, {found.tenants} expects {entry.algorithm} of {entry.kid!r}"
        return Check("api key", "wrong", detail, "make the two the same")
    return Check("api key", "ok", f"{entry.kid} of {entry.issuer}")


def _models(found: Settings, catalog: Catalog) -> Iterator[Check]:
    for name, card in sorted(catalog.models.items()):
        engine = found.generation.engine or card.engine
        if engine != "null":
            for problem in unusable_files(card):
                yield Check(name, "wrong", problem, "put the files there, or correct the entry in models.yaml")


async def reach_checks(found: Settings, catalog: Catalog | None, directory: Directory | None) -> list[Check]:
    """The broker with its topics, and the store with its bucket."""
    checks: list[Check] = []
    specs = specs_of(found, catalog, directory) if catalog and directory else []
    try:
        problems = await check_topics(found.kafka, specs, timeout_s=_CALL_S)
        checks.append(Check("kafka", "ok", found.kafka.bootstrap_servers))
        checks += [Check("topics", "wrong", problem, "`easel topics`") for problem in summed_up(problems)]
        if specs and not problems:
            checks.append(Check("topics", "ok", f"all {len(specs)} are there, as they must be"))
    except Misconfigured as error:
        checks.append(Check("kafka", "wrong", error.what, error.remedy))
    except TransportError as error:
        checks.append(Check("kafka", "wrong", str(error), "`easel up`, or set EASEL_KAFKA_BOOTSTRAP_SERVERS"))
    async with ObjectStore(found.store.model_copy(update={"timeout_s": _CALL_S})) as store:
        try:
            # A listing names a bucket that is not there; a look at one object would not tell it from a missing object.
            async for _ in store.list("easel-doctor"):
                break
            checks.append(Check("store", "ok", f"bucket {found.store.bucket!r} at {found.store.endpoint}"))
        except Misconfigured as error:
            checks.append(Check("store", "wrong", error.what, error.remedy))
        except TransportError as error:
            checks.append(Check("store", "wrong", str(error), "`easel up`, or set EASEL_STORE_ENDPOINT"))
    return checks
