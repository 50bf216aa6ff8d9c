"""Every metric of the stages: its name, what it means, what to do about it. The documentation comes from this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DEFINITIONS", "Definition"]

Kind = Literal["counter", "gauge", "histogram"]

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. ``remedy`` says what an operator does when it looks wrong."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    remedy: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, unit: str, labels: tuple[str, ...], meaning: str, remedy: str) -> Definition:
    return Definition(name, "counter", unit, labels, meaning, remedy)


def _gauge(name: str, unit: str, labels: tuple[str, ...], meaning: str, remedy: str) -> Definition:
    return Definition(name, "gauge", unit, labels, meaning, remedy)


def _histogram(name: str, buckets: tuple[float, ...], unit: str, meaning: str, remedy: str) -> Definition:
    return Definition(name, "histogram", unit, (), meaning, remedy, buckets)


_ADMISSION = (
    _counter(
        "easel_admission_decisions_total",
        "decisions",
        ("decision", "code"),
        "Decisions by kind (accepted, duplicate, rejected) and, for refusals, the error's code.",
        "Many of one code: look at that limit, or at the publisher whose key it names.",
    ),
    _counter(
        "easel_admission_accepted_total",
        "requests",
        ("tenant",),
        "Requests accepted of each tenant.",
        "None while a tenant publishes: look at its refusals.",
    ),
    _counter(
        "easel_units_held_total",
        "units",
        ("tenant",),
        "Units set aside when requests were accepted.",
        "Grows while settled and refunded don't: work is accepted and not done; look at the workers.",
    ),
    _counter("easel_units_settled_total", "units", ("tenant",), "Units charged for what was delivered.", "-"),
    _counter(
        "easel_units_refunded_total",
        "units",
        ("tenant",),
        "Units given back.",
        "A large share of what is held: requests fail; look at the codes of their failures.",
    ),
    _gauge(
        "easel_admission_queued",
        "requests",
        ("partition",),
        "Accepted requests that wait in admission.",
        "Grows: add workers, or lower what tenants may queue.",
    ),
    _gauge(
        "easel_admission_in_flight",
        "requests",
        ("partition",),
        "Requests that are with the fleet.",
        "At the window and still: the workers don't answer.",
    ),
    _counter("easel_admission_transactions_total", "transactions", (), "Transactions committed.", "-"),
    _histogram(
        "easel_admission_transaction_seconds",
        _FAST_S,
        "seconds",
        "From the first send of a transaction to its commit.",
        "Above 100 ms: the brokers are slow or far away.",
    ),
    _counter(
        "easel_admission_doubts_total",
        "doubts",
        ("kind",),
        "Times a partition was dropped and restored because an outcome was unknown.",
        "A few with each restart of a broker are usual; a steady stream means the brokers can't be reached.",
    ),
    _counter(
        "easel_admission_restores_total",
        "restores",
        (),
        "Partitions restored from the ledger.",
        "Many without rebalances: look at the doubts.",
    ),
    _histogram(
        "easel_admission_restore_seconds",
        _SLOW_S,
        "seconds",
        "Time to restore a partition from its ledger.",
        "Above 10 s: the ledger is not being compacted; check the topic's settings with `easel topics --check`.",
    ),
    _counter(
        "easel_admission_dropped_outcomes_total",
        "outcomes",
        ("reason",),
        "Outcomes of workers that changed nothing (late, superseded, unknown).",
        "Some after failovers are usual; many mean that work is done more than once.",
    ),
    _counter(
        "easel_admission_rerouted_total",
        "requests",
        (),
        "Verified requests that another client's partitioner put on the wrong partition.",
        "Harmless; set the publisher's partitioner to murmur2 to save the extra hop.",
    ),
    _gauge(
        "easel_admission_partitions_owned",
        "partitions",
        (),
        "Partitions that the group has given to this instance.",
        "-",
    ),
    _gauge(
        "easel_admission_partitions_ready",
        "partitions",
        (),
        "Owned partitions that are restored and deciding.",
        "Below the owned ones for long: look at the doubts.",
    ),
    _counter(
        "easel_tenants_reload_total",
        "reloads",
        ("result",),
        "Times tenants.yaml was read again (applied, refused).",
        "refused: the log names file, line and field; the old version goes on.",
    ),
)

_GENERATION = (
    _counter(
        "easel_generation_jobs_total",
        "jobs",
        ("result",),
        "Jobs ended here: succeeded, replayed (from a manifest), failed, released, dropped, malformed.",
        "failed: the log and the outcome carry the code.",
    ),
    _counter("easel_generation_batches_total", "batches", (), "Batches given to the engine.", "-"),
    _histogram(
        "easel_generation_batch_images",
        _IMAGES,
        "images",
        "Pictures in a batch.",
        "Always 1 under load: the jobs' shapes differ too much to run together.",
    ),
    _histogram("easel_generation_engine_seconds", _SLOW_S, "seconds", "Time of a batch in the engine.", "-"),
    _histogram(
        "easel_generation_store_seconds",
        _FAST_S,
        "seconds",
        "Time to encode a picture and store it.",
        "Above a second: the store is slow or far away.",
    ),
    _counter(
        "easel_engine_restarts_total",
        "restarts",
        ("cause",),
        "Times the engine's process was started again (died, hang, load_failed, unresponsive).",
        "hang: raise EASEL_GENERATION_HANG_S or look at the GPU; died: the log has the end of its stderr.",
    ),
    _counter(
        "easel_engine_idle_while_work_waits_seconds_total",
        "seconds",
        (),
        "Time in which the engine did nothing although jobs were here to run.",
        "Above 3 % of the time: the store or the broker holds the worker up.",
    ),
    _gauge("easel_generation_jobs_buffered", "jobs", (), "Jobs fetched and not yet begun.", "-"),
    _gauge(
        "easel_generation_partitions_owned",
        "partitions",
        (),
        "Partitions of the jobs topic that this worker has.",
        "0 for long: more workers than partitions.",
    ),
    _counter("easel_images_total", "images", ("model",), "Pictures stored.", "-"),
    _counter(
        "easel_progress_dropped_total",
        "events",
        (),
        "Progress events that were not sent because the broker could not take them.",
        "Best effort: none.",
    ),
)

_BOTH = (
    _counter(
        "easel_dead_letters_total",
        "records",
        ("stage", "code"),
        "Records that could not be processed and went to the dead-letter topic.",
        "The dead letter holds the record whole, with its cause and place.",
    ),
    _counter(
        "easel_offsets_below_range_total",
        "partitions",
        ("topic",),
        "Partitions whose saved offset the topic no longer holds: records were deleted before they were read.",
        "Raise the topic's retention, and find out why the stage was down for so long.",
    ),
)

DEFINITIONS: tuple[Definition, ...] = (*_ADMISSION, *_GENERATION, *_BOTH)
"""All of them, in the order in which the documentation lists them."""
