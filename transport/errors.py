"""What can go wrong on the way to Kafka or the store, sorted by what the caller should do about it."""

# ruff: noqa: N818 - the names say a state of affairs, which is what a caller asks about.

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

import aiokafka.errors as kafka

from transport.records import TopicPartition

__all__ = [
    "AddressRefused",
    "AnswerRefused",
    "Doubt",
    "Fenced",
    "Misconfigured",
    "NotFound",
    "OffsetsUnknown",
    "TooLarge",
    "TransportError",
    "Unavailable",
    "Undecided",
    "limited",
    "translated",
]


class TransportError(Exception):
    """The base: ``what`` went wrong, ``where`` (an address, a topic, a key) and the ``remedy``."""

    def __init__(self, what: str, remedy: str = "", *, where: str = "") -> None:
        super().__init__(what, remedy, where)
        self.what = what
        self.remedy = remedy
        self.where = where

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}" + (f": {self.remedy}" if self.remedy else "")


class Unavailable(TransportError):
    """The broker or the store could not be reached, or did not answer within the limit: try again later."""


class Doubt(TransportError):
    """The outcome is unknown: drop what was in memory about it, and start again from what is stored."""


class Fenced(Doubt):
    """Somebody else owns this now: start again only if it is given back."""


class OffsetsUnknown(TransportError):
    """No usable offset for ``partitions``: it could not be read, or lies outside what the log holds."""

    def __init__(
        self, what: str, remedy: str = "", *, where: str = "", partitions: Iterable[TopicPartition] = ()
    ) -> None:
        super().__init__(what, remedy, where=where)
        self.partitions = frozenset(partitions)


class Undecided(TransportError):
    """A transaction stays open: what lies behind it can't be read, and may have been committed long ago."""


class Misconfigured(TransportError):
    """A person has to change something; trying again does not help."""


class TooLarge(Misconfigured):
    """A record, or a batch of them, is larger than the topic takes: it can't be written as it is."""


class NotFound(TransportError):
    """No such object."""


class AddressRefused(Misconfigured):
    """A URL that may not be called: its scheme, port or host is not allowed, or its name leads to no public address."""


class AnswerRefused(TransportError):
    """A server that was called answered with what can't be taken: another status, type or size than was asked for."""


_FENCED = (
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.CommitFailedError,
    kafka.IllegalGenerationError,
    kafka.UnknownMemberIdError,
    kafka.RebalanceInProgressError,
)
_FORBIDDEN = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)
_SIGN_IN = (
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def translated(err: BaseException, what: str, where: str) -> TransportError:
    """The error of ours that says what ``err``, an error of the Kafka client, means for the caller."""
    name = type(err).__name__
    # The client's own text often begins with the name already.
    text = str(err).removeprefix(f"{name}: ")
    detail = f"{what}: {name}" + (f": {text}" if text and text != name else "")
    if isinstance(err, TransportError):
        return err
    if isinstance(err, _FENCED):
        return Fenced(detail, "another instance has taken over; go on only where this one still owns", where=where)
    if isinstance(err, _FORBIDDEN):
        return Misconfigured(
            detail,
            "grant the user the access that its role needs; `easel topics acls` says which that is",
            where=where,
        )
    if isinstance(err, _SIGN_IN):
        return Misconfigured(detail, "check security_protocol, sasl_mechanism, username and password", where=where)
    if isinstance(err, _TOO_LARGE):
        return TooLarge(detail, "bound the size before sending, or raise max.message.bytes", where=where)
    if isinstance(err, AssertionError) and "Unrecognized partition" in str(err):
        return Misconfigured(detail, "choose a partition that the topic has", where=where)
    if isinstance(err, kafka.OffsetOutOfRangeError | kafka.NoOffsetForPartitionError):
        found = err.args[0] if err.args else ()
        partitions = [found] if isinstance(found, TopicPartition) else list(found)
        return OffsetsUnknown(detail, "seek to an offset that the log holds", where=where, partitions=partitions)
    if isinstance(err, kafka.UnknownTopicOrPartitionError):
        return Unavailable(detail, "create the topics with `easel topics`", where=where)
    if isinstance(err, TimeoutError | kafka.KafkaTimeoutError | kafka.RequestTimedOutError):
        return Unavailable(f"{what}: no answer within the time limit", "is the broker up and reachable?", where=where)
    if isinstance(err, kafka.KafkaConnectionError) and "bootstrap" in text:
        # The client says why no broker let it in to its log alone.
        return Unavailable(
            detail, "is the broker up and reachable, and does it know this user, password and protocol?", where=where
        )
    if isinstance(err, OSError | kafka.KafkaUnavailableError) or getattr(err, "retriable", False):
        return Unavailable(detail, "is the broker up and reachable?", where=where)
    return Doubt(detail, "drop this client and make a new one", where=where)


class limited:  # noqa: N801 - used as a function
    """Runs its body under a time limit (seconds), and turns every error of the Kafka client into one of ours.

    Raises:
        Unavailable: the limit passed.
        TransportError: as `translated` says.
    """

    __slots__ = ("_timeout", "_what", "_where")

    def __init__(self, what: str, where: str, timeout_s: float) -> None:
        self._what = what
        self._where = where
        self._timeout = asyncio.timeout(timeout_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise translated(late, self._what, self._where) from late
        if isinstance(error, Exception) and not isinstance(error, TransportError):
            raise translated(error, self._what, self._where) from error
