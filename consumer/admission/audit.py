"""Puts beside every answer to a submission who asked, for what, where it lay, and by which rules it was decided."""

from __future__ import annotations

from consumer.admission.intake import Submission
from consumer.admission.rules import Rules
from consumer.admission.state import Effects
from schemas.audit import AUDIT_HEADER, AuditNote
from transport.records import Record

__all__ = ["audited"]


def audited(effects: Effects, submission: Submission, record: Record, rules: Rules) -> Effects:
    """The effects of a submission, with a note on each of its results."""
    own = rules.topics.results_of(submission.tenant.id)
    header: tuple[str, bytes] | None = None
    for index, out in enumerate(effects.messages):
        if out.topic in (rules.topics.results, own):
            header = header or (AUDIT_HEADER, _note(submission, record, rules))
            effects.messages[index] = out._replace(headers=(*out.headers, header))
    return effects


def _note(submission: Submission, record: Record, rules: Rules) -> bytes:
    note = AuditNote.model_construct(
        issuer=submission.issuer,
        kid=submission.kid,
        caller=submission.caller,
        type=submission.envelope.type,
        id=submission.envelope.id,
        body_sha256=submission.body_sha256,
        input=rules.input_of(record.topic),
        partition=record.partition,
        offset=record.offset,
        tenants_version=rules.directory.version,
    )
    return note.model_dump_json().encode()
