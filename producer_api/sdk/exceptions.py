"""What a caller of the SDK may have to handle. Each carries the one error shape's body and the id of the request."""

from __future__ import annotations

from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Canceled, CancelRefused, DeleteRefused, Duplicate, Failed, Rejected

__all__ = [
    "ClientError",
    "GenerationCanceled",
    "GenerationFailed",
    "HandlerFailed",
    "NotCanceled",
    "NotDeleted",
    "PictureDamaged",
    "RequestRejected",
    "ResultGone",
    "TimedOut",
    "Unreachable",
]


class ClientError(Exception):
    """The base. ``error`` says what is wrong and whose move it is; ``request_id`` is None where there is no request."""

    def __init__(self, error: ErrorBody, *, request_id: str | None = None) -> None:
        about = f" (request {request_id})" if request_id else ""
        super().__init__(f"{error.code}: {error.message}{about}")
        self.error = error
        self.request_id = request_id


class RequestRejected(ClientError):  # noqa: N818 - reads as what happened
    """Not accepted: nothing was charged, and the id may be tried again.

    ``event`` is admission's answer, with the limit it is about and ``retry_after_s``; None when the request was already
    found wanting here.
    """

    def __init__(
        self, error: ErrorBody, *, request_id: str | None = None, event: Rejected | Duplicate | None = None
    ) -> None:
        super().__init__(error, request_id=request_id)
        self.event = event

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the same request may be accepted, where that is known."""
        return self.event.retry_after_s if isinstance(self.event, Rejected) else None


class GenerationFailed(ClientError):  # noqa: N818 - reads as what happened
    """Accepted, but no picture came of it; ``event`` says what was charged and refunded."""

    def __init__(self, event: Failed) -> None:
        super().__init__(event.error, request_id=event.request_id)
        self.event = event


class GenerationCanceled(ClientError):  # noqa: N818 - reads as what happened
    """Ended at its tenant's wish; ``event`` says what the steps that ran cost."""

    def __init__(self, event: Canceled) -> None:
        error = ErrorBody(
            message=f"the request was canceled; {event.cost_milliunits / 1000:g} units are charged",
            type=ErrorType.INVALID_REQUEST,
            code=Code.CANCELED,
        )
        super().__init__(error, request_id=event.request_id)
        self.event = event


class NotCanceled(ClientError):  # noqa: N818 - reads as what happened
    """There was nothing to stop; ``event.state`` says how the request had ended."""

    def __init__(self, event: CancelRefused) -> None:
        super().__init__(event.error, request_id=event.request_id)
        self.event = event


class NotDeleted(ClientError):  # noqa: N818 - reads as what happened
    """Nothing was deleted; ``event.state`` says where the request stands."""

    def __init__(self, event: DeleteRefused) -> None:
        super().__init__(event.error, request_id=event.request_id)
        self.event = event


class TimedOut(ClientError):  # noqa: N818 - reads as what happened
    """The limit passed first. The request itself may be under way: submit it again with the same id, or wait again."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(_server_error(message), request_id=request_id)


class Unreachable(ClientError):  # noqa: N818 - reads as what happened
    """Kafka can't be reached, or refuses this client; the message says why and what to do."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(_server_error(message), request_id=request_id)


class ResultGone(ClientError):  # noqa: N818 - reads as what happened
    """The request ended so long ago that its terminal event is no longer kept."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(
            ErrorBody(message=message, type=ErrorType.NOT_FOUND, code=Code.NOT_FOUND), request_id=request_id
        )


class PictureDamaged(ClientError):  # noqa: N818 - reads as what happened
    """What was fetched is not what was made: its SHA-256 is another. To fetch it again is safe."""

    def __init__(self, message: str) -> None:
        super().__init__(_server_error(message))


class HandlerFailed(ClientError):  # noqa: N818 - reads as what happened
    """A subscription's handler raised each time that it was given an event; the cause is its own error.

    The event is not counted as handled: a subscription of the same group begins with it.
    """

    def __init__(self, message: str, *, request_id: str) -> None:
        super().__init__(_server_error(message), request_id=request_id)


def _server_error(message: str) -> ErrorBody:
    return ErrorBody(message=message, type=ErrorType.SERVER, code=Code.SERVICE_UNAVAILABLE)
