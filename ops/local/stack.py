"""Starts and stops a Kafka and an object store that live under one directory.

The same code keeps the stack of a developer (`easel up`, under `.easel/`) and a throw-away one for a test session. The
parts are detached: they outlive the process that starts them, and any later one finds them by what lies under `run/`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pydantic import SecretStr

from ops.local.authority import Authority
from ops.local.broker_security import BrokerSecurity
from ops.local.cache import Report, locked, silent
from ops.local.errors import LocalStackError
from ops.local.kafka import KafkaPart
from ops.local.part import Part
from ops.local.process import ProcessRecord, said_since, start_detached, tail
from ops.local.store import StorePart
from schemas.connection import KafkaSettings, StoreSettings

PartName = Literal["kafka", "store"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts listen (`host:port`), and the key pair of the store's root user."""

    kafka: str
    store: str
    store_access_key: str
    store_secret_key: str = field(repr=False)
    ca_file: Path | None = None
    """Of a secure stack: what its clients have to trust."""
    admin: KafkaSettings | None = None
    """Of a secure stack: who makes the broker's users and ACLs."""

    def environment(self) -> dict[str, str]:
        """The same as settings, for the environment of an easel process that is served by one that is not secure."""
        return {
            "EASEL_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "EASEL_STORE_ENDPOINT": self.store,
            "EASEL_STORE_ACCESS_KEY": self.store_access_key,
            "EASEL_STORE_SECRET_KEY": self.store_secret_key,
        }

    @property
    def store_root(self) -> StoreSettings:
        """The store, as its root user."""
        return StoreSettings(
            endpoint=self.store,
            secure=self.ca_file is not None,
            ca_file=self.ca_file,
            access_key=SecretStr(self.store_access_key),
            secret_key=SecretStr(self.store_secret_key),
        )


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now."""

    name: PartName
    state: Literal["running", "not answering", "stopped"]
    address: str
    pid: int | None
    log: Path


class Stack:
    """The local stack of one data directory, which is made if absent. Not for threads to share.

    `store_fallback` lets rclone stand in for MinIO where there is no Go: for the demo, never for tests.
    `kafka_properties` are laid over the broker's settings at its next start. With `secure`, both speak TLS and serve
    only users that they know (`ops.local.users`); a directory that was once secure stays so.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        store_fallback: bool = False,
        kafka_properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        secure: bool = False,
        report: Report = silent,
    ) -> None:
        self._directory = data_dir.resolve()
        self._report = report
        tls = self._directory / "tls"
        with self._locked():
            security: BrokerSecurity | None = None
            if secure or tls.is_dir():
                self._require_stopped_or_secure(tls)
                Authority(tls)
                security = BrokerSecurity(tls)
            authority = tls if security else None
            self._store = StorePart(self._directory / "store", fallback=store_fallback, authority=authority)
            self._kafka = KafkaPart(
                self._directory / "kafka", kafka_properties, security=security, java_options=java_options
            )
        self._security = security
        self._parts: dict[PartName, Part] = {"kafka": self._kafka, "store": self._store}
        self._log_begins: dict[PartName, int] = {}

    @property
    def endpoints(self) -> Endpoints:
        """The same at every start."""
        keys = self._store.credentials
        address = self._kafka.certificate_address
        if self._security is None or address is None:
            return Endpoints(self._kafka.address, self._store.address, keys.access_key, keys.secret_key)
        return Endpoints(
            self._kafka.address,
            self._store.address,
            keys.access_key,
            keys.secret_key,
            ca_file=self._security.ca_file,
            admin=self._security.admin_settings(address),
        )

    def up(self, *parts: PartName) -> Endpoints:
        """Start the parts named (all, if none is), those that run already aside, and wait until each answers.

        Raises:
            LocalStackError: a part is missing, ended, or does not answer in time; with its log and the remedy.
        """
        with self._locked():
            names = parts or PART_NAMES
            asleep = [name for name in names if self._running(name) is None]
            for name in asleep:
                self._parts[name].prepare(self._report)
            for name in asleep:
                self._launch(name)
            for name in names:
                self._wait(name, launched=name in asleep)
        return self.endpoints

    def start(self, part: PartName) -> None:
        """Start one part and wait until it answers; nothing if it runs. Raises as `up`."""
        self.up(part)

    def stop(self, part: PartName, *, hard: bool = False) -> None:
        """End one part that this directory's stack started, and wait until it is gone; `hard` is a `kill -9`."""
        with self._locked():
            self._stop(part, hard=hard)

    def down(self) -> list[PartName]:
        """End what runs, and nothing else. Returns the parts that were running."""
        with self._locked():
            running = [name for name in PART_NAMES if self._running(name)]
            for name in PART_NAMES:
                self._stop(name, hard=False)
        return running

    def status(self) -> list[PartStatus]:
        """Each part as it is now."""
        return [self._status(name) for name in PART_NAMES]

    def pid(self, part: PartName) -> int | None:
        """The part's process, for a test that means it harm; None if it does not run."""
        record = self._running(part)
        return record.pid if record else None

    def log(self, part: PartName) -> Path:
        """Where the part's output goes."""
        return self._directory / "logs" / f"{part}.log"

    def _launch(self, name: PartName) -> None:
        part = self._parts[name]
        if part.answers():
            raise LocalStackError(
                f"something else already answers on {part.address}, the address of this stack's {name}: stop it, "
                f"or use another data directory"
            )
        self._report(f"starting {name} on {part.address}")
        log = self.log(name)
        self._log_begins[name] = log.stat().st_size if log.exists() else 0
        record = start_detached(part.command(), part.environment(), log)
        record.save(self._record_path(name))

    def _wait(self, name: PartName, *, launched: bool) -> None:
        part = self._parts[name]
        deadline = time.monotonic() + part.start_limit_s
        while not part.answers():
            if self._running(name) is None:
                raise self._failure(name, "ended by itself")
            if time.monotonic() > deadline:
                # What ran before may be busy with something that is not ours to lose.
                if launched:
                    self._stop(name, hard=True)
                raise self._failure(name, f"did not answer within {part.start_limit_s:.0f} s")
            time.sleep(_POLL_S)

    def _failure(self, name: PartName, what: str) -> LocalStackError:
        log = self.log(name)
        cause = self._parts[name].cause(said_since(log, self._log_begins.get(name, 0)))
        if cause is not None:
            return LocalStackError(f"{name} {what}: {cause}")
        return LocalStackError(
            f"{name} {what}. Its log, {log}, ends with:\n{tail(log)}\n"
            f"If that does not say why: `easel down`, remove {self._directory / name}, `easel up`."
        )

    def _stop(self, name: PartName, *, hard: bool) -> None:
        path = self._record_path(name)
        record = ProcessRecord.load(path)
        if record:
            record.stop(hard=hard)
            path.unlink(missing_ok=True)

    def _running(self, name: PartName) -> ProcessRecord | None:
        record = ProcessRecord.load(self._record_path(name))
        return record if record and record.find() else None

    def _status(self, name: PartName) -> PartStatus:
        part = self._parts[name]
        record = self._running(name)
        if record is None:
            return PartStatus(name, "stopped", part.address, None, self.log(name))
        return PartStatus(
            name, "running" if part.answers() else "not answering", part.address, record.pid, self.log(name)
        )

    def _require_stopped_or_secure(self, tls: Path) -> None:
        if not tls.is_dir() and any(self._running(name) for name in PART_NAMES):
            raise LocalStackError(f"what runs in {self._directory} speaks no TLS: `easel down` first")

    def _record_path(self, name: PartName) -> Path:
        return self._directory / "run" / f"{name}.json"

    def _locked(self) -> AbstractContextManager[None]:
        (self._directory / "run").mkdir(parents=True, exist_ok=True)
        return locked(self._directory / "run" / "lock")
