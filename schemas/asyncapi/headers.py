"""The Kafka headers of each kind of event, and the claims of a signature, as JSON Schemas."""

from __future__ import annotations

from typing import Any

from schemas.asyncapi.channels import HeaderKind
from schemas.audit import AUDIT_HEADER
from schemas.envelope import JSON
from schemas.signing import ALGORITHMS, MAX_LIFETIME_S, MAX_SKEW_S, TOKEN_TYPE
from schemas.webhooks import WEBHOOK

__all__ = ["CLAIMS", "SIGNATURE", "headers_of"]

_UUID7 = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_UUID5 = "^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_JWT = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


_CONTENT_TYPE = _text("What the value is.", const=JSON)
_SPECVERSION = _text("CloudEvents' version.", const="1.0")
_TIME = _text("When it happened, as RFC 3339 with an offset.", format="date-time")
_TRACEPARENT = _text(
    "W3C Trace Context; carried from a request to every event about it.",
    pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
)


def _type(name: str) -> dict[str, Any]:
    return _text("What kind of event it is, with its version.", const=name)


def _object(required: tuple[str, ...], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


_CLOUD_EVENT = ("content-type", "ce_specversion", "ce_id", "ce_type", "ce_source")


def headers_of(kind: HeaderKind, event_type: str) -> dict[str, Any]:
    """The headers of an event of this type. Each stands once; those of other systems are left alone."""
    if kind == "letter":
        return _object(
            ("content-type", "easel_type"),
            {"content-type": _CONTENT_TYPE, "easel_type": _type(event_type)},
        )
    if kind == "request":
        return _object(
            (*_CLOUD_EVENT, "ce_signature"),
            {
                "content-type": _CONTENT_TYPE,
                "ce_specversion": _SPECVERSION,
                "ce_id": _text(
                    "A UUIDv7 in lower case, within a day of the broker's append time: the request's id, or that of a"
                    " cancel or delete. It is the same when the event is sent again.",
                    pattern=_UUID7,
                ),
                "ce_type": _type(event_type),
                "ce_source": _text("Your system's name.", minLength=1),
                "ce_signature": _text("The signature: a JWT (see x-signature).", pattern=_JWT, maxLength=8192),
                "ce_idempotencykey": _text(
                    "Another id under the same key is the same request. The claim idempotencykey holds it too.",
                    pattern="^[!-~]{1,255}$",
                ),
                "ce_time": _TIME,
                "ce_subject": _text("Read by nobody; CloudEvents allows it."),
                "traceparent": _TRACEPARENT,
            },
        )
    properties = {
        "content-type": _CONTENT_TYPE,
        "ce_specversion": _SPECVERSION,
        "ce_id": _text(
            "A UUIDv5 of the request's id with the tenant, the type and a number: the same whenever the event is made"
            " again, and of no other event.",
            pattern=_UUID5,
        ),
        "ce_type": _type(event_type),
        "ce_source": _text("The installation's name."),
        "ce_subject": _text("The request's id.", pattern=_UUID7),
        "ce_time": _TIME,
        "traceparent": _TRACEPARENT,
    }
    if kind == "result":
        properties[AUDIT_HEADER] = _text(
            "On answers, for the operator: who asked, for what, by which version of the rules, as JSON. Readers may"
            " pass over it."
        )
        properties[f"ce_{WEBHOOK}"] = _text(
            "Where its request wants it posted too, as JSON with url and events; for the stage that does so."
        )
    return _object((*_CLOUD_EVENT, "ce_subject"), properties)


SIGNATURE: dict[str, Any] = {
    "header": "ce_signature",
    "format": "JWT in compact form (RFC 7519, RFC 7515)",
    "typ": TOKEN_TYPE,
    "algorithms": list(ALGORITHMS),
    "kid": "The name of your key. Its entry in tenants.yaml says the one algorithm that it signs with.",
    "lifetime": f"At most {MAX_LIFETIME_S} s. Expiry is judged by the time at which the broker received the event.",
    "skew": f"iat may be at most {MAX_SKEW_S} s ahead of that time.",
    "claims": {"$ref": "#/components/schemas/SignatureClaims"},
    "vectors": "vectors/*.json, beside this document",
}

CLAIMS: dict[str, Any] = {
    **_object(
        ("iss", "sub", "aud", "type", "iat", "exp", "jti", "body_sha256"),
        {
            "iss": _text("The publisher: the tenant's name, or that of the issuer that the key belongs to."),
            "sub": _text("The tenant.", pattern="^[a-z0-9][a-z0-9-]{0,62}$"),
            "aud": _text("The installation's name."),
            "type": _text("The same as ce_type."),
            "jti": _text("The same as ce_id.", pattern=_UUID7),
            "iat": {"type": "number", "description": "When it was signed, in seconds since 1970.", "minimum": 0},
            "exp": {"type": "number", "description": "When it ends, in seconds since 1970.", "minimum": 0},
            "body_sha256": _text("SHA-256 of the value's bytes, in lower-case hex.", pattern="^[0-9a-f]{64}$"),
            "idempotencykey": _text("With the header ce_idempotencykey, and the same.", pattern="^[!-~]{1,255}$"),
        },
    ),
    "description": "The claims of the token in ce_signature. Others may stand beside them.",
}
