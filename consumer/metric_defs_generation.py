"""The metrics of generation."""

from __future__ import annotations

from consumer.metric_kinds import FAST_S, IMAGES, SLOW_S, Definition, counter, gauge, histogram

__all__ = ["GENERATION"]

GENERATION: tuple[Definition, ...] = (
    counter(
        "easel_generation_jobs_total",
        "jobs",
        ("result",),
        "Jobs ended here: succeeded, replayed (by manifest), failed, canceled, deleted, released, dropped, malformed.",
        "failed: the log and the outcome carry the code.",
    ),
    counter("easel_generation_batches_total", "batches", (), "Batches given to the engine.", "-"),
    histogram(
        "easel_generation_batch_images",
        IMAGES,
        "images",
        "Pictures in a batch.",
        "Always 1 under load: the jobs' shapes differ too much to run together.",
    ),
    counter(
        "easel_generation_joined_total",
        "images",
        (),
        "Pictures that joined a batch while it ran (models with `continuous: true`).",
        "0 under load: pictures of different sizes or adapters take turns, or the batches are full.",
    ),
    histogram(
        "easel_generation_engine_seconds",
        SLOW_S,
        "seconds",
        "Time in the engine: of a batch, or of each picture of a model with `continuous: true`.",
        "-",
    ),
    histogram(
        "easel_generation_store_seconds",
        FAST_S,
        "seconds",
        "Time to encode a picture and store it.",
        "Above a second: the store is slow or far away.",
    ),
    counter(
        "easel_engine_restarts_total",
        "restarts",
        ("cause",),
        "Times the engine's process was started again (died, hang, memory).",
        "hang: raise EASEL_GENERATION_HANG_S or look at the GPU; died: the log has the end of its stderr.",
    ),
    counter(
        "easel_engine_model_loads_total",
        "loads",
        ("model",),
        "Times a model was loaded, the first one included.",
        "Grows all the time: the models of the pool take turns; raise EASEL_GENERATION_MODELS_MIB, or give them pools.",
    ),
    counter(
        "easel_engine_model_evictions_total",
        "models",
        ("model",),
        "Times a loaded model left for another.",
        "As with the loads.",
    ),
    counter(
        "easel_generation_out_of_memory_total",
        "batches",
        ("model",),
        "Batches that did not fit in memory; batches of that size are half as large from then on.",
        "Grows: lower the model's max_batch_images, turn on vae_slicing or offload, or lower limits.pixels.",
    ),
    counter(
        "easel_engine_idle_while_work_waits_seconds_total",
        "seconds",
        (),
        "Time in which the engine did nothing although jobs were here to run.",
        "Above 3 % of the time: the store or the broker holds the worker up.",
    ),
    counter(
        "easel_text_embeddings_total",
        "prompts",
        ("result",),
        "Prompts whose embeddings were kept from an earlier batch, or made.",
        "kept near 0 is usual where no prompt comes twice.",
    ),
    gauge("easel_generation_jobs_buffered", "jobs", (), "Jobs fetched and not yet begun.", "-"),
    gauge(
        "easel_generation_partitions_owned",
        "partitions",
        (),
        "Partitions of the jobs topic that this worker has.",
        "0 for long: more workers than partitions.",
    ),
    counter("easel_images_total", "images", ("model",), "Pictures stored.", "-"),
    counter(
        "easel_images_checked_total",
        "images",
        ("model", "outcome"),
        "Pictures that the image check looked at: passed, blocked, blurred, flagged.",
        "Much other than passed: look at the prompts, and at what the checker takes offence at.",
    ),
    counter(
        "easel_progress_dropped_total",
        "events",
        (),
        "Progress events that were not sent because the broker could not take them.",
        "Best effort: none.",
    ),
)
