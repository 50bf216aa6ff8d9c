"""A start is known to admission before the engine has it: a job that takes its worker down is found by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer.faults import fault
from consumer.generation.jobs import Job
from consumer.generation.reports import Reports
from transport.logs import logger, prompt_facts

__all__ = ["announce"]

_log = logger("generation")


async def announce(by_job: Mapping[Job, Sequence[int]], reports: Reports, *, closed: bool) -> None:
    """Say that these begin, and wait until it is sure to be heard. ``closed``: nothing can join them later."""
    jobs = [job for job in by_job if not job.announced]
    if closed and len(by_job) == 1:
        for job in jobs:
            # By itself, as it happens; what is said of its start is to stay true.
            job.alone = job.alone or len(by_job[job]) == job.parameters.images
    fault("generation.before_started")
    await reports.started(jobs)
    fault("generation.after_started")
    for job in jobs:
        _log.info(
            "job started",
            alone=job.alone,
            start=job.start,
            **prompt_facts(job.parameters.prompt),
            **job.log_facts(),
        )
