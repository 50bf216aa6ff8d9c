"""Kafka's broker as jars from Maven Central, fetched once per user and checked against pinned hashes."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ops.local.cache import Report, cache_dir, provide, silent
from ops.local.errors import LocalStackError

if TYPE_CHECKING:
    from jgo.maven import Artifact

# Not newer: 4.3.0 and 4.4.0 take a partition that has no leader for a moment for a deleted one, and leave out the
# markers of its transactions (`KRaftMetadataCache.getPartitionLeaderEndpoint`). That moment comes whenever a single
# broker is stopped or started; what was committed then comes to light with the next transaction, beside its repetition.
KAFKA_VERSION = "4.2.2"

_CACHE_NAME = f"kafka-{KAFKA_VERSION}"
_PARALLEL_DOWNLOADS = 8
_DOWNLOAD_LIMIT_S = 60
_ATTEMPTS = 3

_log = logging.getLogger(__name__)


def cached_jars() -> Path | None:
    """The directory of jars, if they were fetched before."""
    directory = cache_dir() / _CACHE_NAME
    return directory if directory.is_dir() else None


def ensure_jars(report: Report = silent) -> Path:
    """Return the directory that holds the broker's jars, fetching them first if need be (44 MB, some seconds).

    Raises:
        LocalStackError: a jar cannot be fetched, or is not the one that was pinned.
    """
    return provide(_CACHE_NAME, lambda staging: _fetch(staging, report))


def pinned_jars() -> dict[str, str]:
    """`group:artifact:version` → sha256, every jar of the tree: the resolver must not choose versions by itself."""
    lines = (resources.files("ops.local") / "kafka-jars.lock").read_text().splitlines()
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def _fetch(staging: Path, report: Report) -> None:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise LocalStackError("Kafka's jars need jgo: `pip install '.[local]'` in a clone of easel") from error

    pinned = pinned_jars()
    report(f"fetching Kafka {KAFKA_VERSION} ({len(pinned)} jars, 44 MB), once")
    # A store of our own: jgo trusts what lies in ~/.m2, and a half-written jar of another tool would stay for ever.
    downloads = staging / "downloads"
    maven = MavenContext(repo_cache=downloads, timeout=_DOWNLOAD_LIMIT_S)

    def fetch(coordinate: str) -> None:
        group, artifact, version = coordinate.split(":")
        try:
            jar = _download(maven.project(group, artifact).at_version(version).artifact())
        except Exception as error:
            raise LocalStackError(f"cannot fetch {coordinate} from Maven Central: {error}; try again") from error
        if hashlib.sha256(jar.read_bytes()).hexdigest() != pinned[coordinate]:
            raise LocalStackError(f"{coordinate} is not the jar that kafka-jars.lock pins: refused; try again")
        jar.rename(staging / jar.name)

    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        for _ in pool.map(fetch, pinned):
            pass
    shutil.rmtree(downloads)


def _download(artifact: Artifact) -> Path:
    for attempt in range(1, _ATTEMPTS):
        try:
            return artifact.resolve()
        except Exception as error:  # it raises what its HTTP client raises, and assertions
            _log.debug("attempt %d at %s: %s", attempt, artifact, error)
            # What lies there is half a jar, and would be taken for a whole one.
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)
            time.sleep(attempt)
    return artifact.resolve()


def _main() -> int:
    try:
        print(ensure_jars(lambda line: print(line, flush=True)))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
