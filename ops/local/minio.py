"""MinIO, built from source once per user. Standard library only: `make setup` runs it beside the pip install.

Upstream publishes no binaries any more, so the pinned last revision is built with `go install`, which checks every
module against Go's checksum database.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from ops.local.cache import Report, cache_dir, provide, silent
from ops.local.errors import LocalStackError

MODULE = "github.com/minio/minio"
REVISION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_MINIMUM_GO = (1, 24)
GO_REMEDY = "install Go 1.24 or newer and put `go` on the PATH, then run `make setup`"

_CACHE_NAME = f"minio-{REVISION.rsplit('-', 1)[1]}"
_BUILD_LIMIT_S = 1800.0
_REPORT_EVERY_S = 20.0


def built_minio() -> Path | None:
    """The binary, if it was built before."""
    binary = cache_dir() / _CACHE_NAME / "minio"
    return binary if binary.is_file() else None


def has_go() -> bool:
    """Whether there is a Go that can build MinIO."""
    try:
        answer = subprocess.run(["go", "env", "GOVERSION"], check=True, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return version is not None and (int(version.group(1)), int(version.group(2))) >= _MINIMUM_GO


def ensure_minio(report: Report = silent) -> Path:
    """Return MinIO's binary, building it first if need be (2 to 3 minutes on two cores).

    Raises:
        LocalStackError: no Go here, or the build failed; the message has the remedy or the end of the build's output.
    """
    binary = built_minio()
    if binary is None:
        if not has_go():
            raise LocalStackError(f"MinIO has to be built and there is no Go that can: {GO_REMEDY}")
        provide(_CACHE_NAME, lambda staging: _build(staging, report))
        binary = built_minio()
        if binary is None:
            raise LocalStackError(f"the MinIO build left no binary: remove {cache_dir() / _CACHE_NAME} and try again")
    return binary


def _build(staging: Path, report: Report) -> None:
    report("building MinIO from source, once (2 to 3 minutes)")
    started = time.monotonic()
    environment = {**os.environ, "GOBIN": str(staging)}
    command = ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{REVISION}"]
    log = staging / "build.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as build,
    ):
        while build.poll() is None:
            elapsed = time.monotonic() - started
            if elapsed > _BUILD_LIMIT_S:
                build.kill()
                raise LocalStackError(f"the MinIO build did not end within {_BUILD_LIMIT_S:.0f} s: try again")
            try:
                build.wait(_REPORT_EVERY_S)
            except subprocess.TimeoutExpired:
                report(f"still building MinIO ({elapsed + _REPORT_EVERY_S:.0f} s)")
    if build.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LocalStackError(f"`{' '.join(command)}` failed:\n{tail}")
    report(f"MinIO built in {time.monotonic() - started:.0f} s")


def _main() -> int:
    try:
        print(ensure_minio(lambda line: print(line, flush=True)))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
