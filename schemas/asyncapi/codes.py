"""What each error code on Kafka asks of whoever meets it. Codes of HTTP alone are told with its routes."""

from __future__ import annotations

from schemas.errors import Code

__all__ = ["IN_DEAD_LETTERS", "ON_RESULTS"]

_MEND = "mend the request; `param` names the field"
_AGAIN = "it was refunded; try again with a new id"

ON_RESULTS: dict[Code, str] = {
    Code.INVALID_REQUEST: _MEND,
    Code.UNSUPPORTED_TYPE: _MEND,
    Code.ID_INVALID: _MEND,
    Code.ID_OUT_OF_TIME: "make a new id",
    Code.ID_CONFLICT: "make a new id: this one belongs to another request",
    Code.IDEMPOTENCY_CONFLICT: "make a new key: this one came with another body",
    Code.ALREADY_ENDED: "there is nothing to cancel any more",
    Code.NOT_ENDED: "cancel it before you delete it",
    Code.NOT_FOUND: "there is no such request of yours to delete",
    Code.CANCELED: "it ended at your wish; to try again, make a new id",
    Code.LIMIT_EXCEEDED: "ask for less; `param` names what is too much",
    Code.MODEL_NOT_FOUND: "ask for another model",
    Code.MODEL_NOT_ALLOWED: "ask for another model",
    Code.PROMPT_BLOCKED: "ask in other words; `param` is the text that a rule does not allow",
    Code.SOURCE_NOT_ALLOWED: "name a picture of your own",
    Code.WEBHOOK_NOT_ALLOWED: "name a webhook that your entry in tenants.yaml allows",
    Code.PRIORITY_NOT_ALLOWED: "ask for a priority that you may use",
    Code.TENANT_SUSPENDED: "ask the operator",
    Code.RATE_LIMITED: "wait `retry_after_s`",
    Code.BUDGET_DAY_EXCEEDED: "wait `retry_after_s` (until the next day), or ask for a larger budget",
    Code.BUDGET_MONTH_EXCEEDED: "wait `retry_after_s` (until the next month), or ask for a larger budget",
    Code.QUEUE_FULL: "wait until some of your requests have ended",
    Code.GENERATION_FAILED: _AGAIN,
    Code.OUT_OF_MEMORY: _AGAIN,
    Code.ENGINE_LOST: _AGAIN,
    Code.STORE_FAILED: _AGAIN,
    Code.MODEL_UNAVAILABLE: _AGAIN,
    Code.SOURCE_NOT_FOUND: "it was refunded; put the picture that `param` names into the store, and use a new id",
    Code.SOURCE_INVALID: "it was refunded; put the picture that `param` names into the store whole, and use a new id",
    Code.CONTENT_BLOCKED: "every picture was held back by the image check, and charged: ask for something else",
    Code.POISON: "it was refunded; change what you ask for, and tell the operator",
    Code.DEADLINE_EXCEEDED: "it was refunded; ask again with a later deadline, or a higher priority",
    Code.INTERNAL_ERROR: "it was refunded; tell the operator",
}
"""In ``rejected``, ``failed``, ``duplicate``, ``priced``, ``cancel_refused`` and ``delete_refused``."""

IN_DEAD_LETTERS: dict[Code, str] = {
    Code.ENVELOPE_INVALID: "mend the headers: `param` names the one at fault",
    Code.SIGNATURE_MISSING: "send the header `ce_signature`",
    Code.SIGNATURE_MALFORMED: "the token is no signed JWT with the `typ` that it must have",
    Code.SIGNATURE_INVALID: "sign with the private key whose public key the operator has under this `kid`",
    Code.KEY_UNKNOWN: "give your public key to the operator, or use the `kid` under which it was entered",
    Code.ALGORITHM_MISMATCH: "sign with the algorithm that the key's entry says",
    Code.CLAIMS_INVALID: "make the claim that `param` names the same as the header or the key's entry",
    Code.BODY_MISMATCH: "hash the very bytes that you send",
    Code.TOKEN_EXPIRED: "sign anew: `exp` had passed when the broker received it",
    Code.TOKEN_NOT_YET_VALID: "set your clock: `iat` was ahead of the broker's",
    Code.TOKEN_LIFETIME: "let `exp` be at most 24 h after `iat`",
    Code.TENANT_NOT_ALLOWED: "the key may not speak for this tenant, or nobody knows the tenant: ask the operator",
    Code.ID_INVALID: "`ce_id` must be a UUIDv7 in lower case",
    Code.WEBHOOK_UNDELIVERABLE: "your endpoint did not take an event for a day: mend that, and have it replayed",
    Code.WEBHOOK_GONE: "your endpoint answered 410 Gone: have it replayed once it is there again",
    Code.INTERNAL_ERROR: "a bug: the operator's log says more",
}
"""In dead letters: nobody is answered, because nobody is known to have asked."""
