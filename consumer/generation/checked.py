"""What the image check said of a picture: noted for the job's result, and counted."""

from __future__ import annotations

from consumer.engine.contract import Made, Missed
from consumer.engine.wire import Canceled
from consumer.generation.jobs import Job
from consumer.metrics import Metrics
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["note_check"]


def note_check(
    metrics: Metrics, card: ModelCard | None, job: Job, index: int, result: Made | Missed | Canceled
) -> None:
    """Take down what was found in a picture that the engine has ended with; nothing for models without a check."""
    if isinstance(result, Made):
        if result.flagged:
            job.flagged.add(index)
        if result.blurred:
            job.blurred.add(index)
        outcome = "blurred" if result.blurred else "flagged" if result.flagged else "passed"
    elif isinstance(result, Missed) and result.code is Code.CONTENT_BLOCKED:
        outcome = "blocked"
    else:
        return
    if card is not None and card.safety is not None:
        metrics.inc("easel_images_checked_total", model=job.parameters.model, outcome=outcome)
