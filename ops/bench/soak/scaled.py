"""An installation whose days are seconds: ``python -m ops.bench.soak.scaled`` runs its admission.

An ended request is remembered for three days, and the broker keeps a deletion for one more, so that the ledger stops
growing after four. In a soak both are shorter by the same factor. No setting allows that, and none should: a window
shorter than tokens live would let a captured request run twice. So the service is started here with what it reads from
the settings put in its place, and everything else as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.admission import init, service
from consumer.process import run_process
from schemas.catalog import Catalog
from schemas.settings import Settings
from schemas.tenants import Directory
from schemas.topics import TopicSpec

__all__ = ["FACTOR", "REMEMBERED_S", "main", "scale_topics"]

REMEMBERED_S = 120.0
FACTOR = 72 * 3600 / REMEMBERED_S
_LEDGER = {
    "delete.retention.ms": str(round(24 * 3_600_000 / FACTOR)),
    # Not by the factor: a file every quarter of a second would be another kind of load.
    "segment.ms": "30000",
}


def scale_topics() -> None:
    """From now on this process makes and expects a ledger with these times."""
    original = init.specs_of

    def scaled(settings: Settings, catalog: Catalog, directory: Directory) -> Sequence[TopicSpec]:
        ledger = f"{settings.kafka.prefix}.ledger"
        return [
            TopicSpec(spec.name, spec.partitions, {**spec.config, **_LEDGER}) if spec.name == ledger else spec
            for spec in original(settings, catalog, directory)
        ]

    for module in (init, service):
        vars(module)["specs_of"] = scaled


def _with_window(settings: Settings) -> Settings:
    admission = settings.admission.model_copy(update={"remembered_h": REMEMBERED_S / 3600})
    return settings.model_copy(update={"admission": admission})


def main() -> None:
    """Run admission as a process."""
    scale_topics()
    run_process("admission", lambda settings, stop: service.run_admission(_with_window(settings), stop=stop))


if __name__ == "__main__":
    main()
