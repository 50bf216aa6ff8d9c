"""The AsyncAPI document: every public channel, with its messages, keys, headers, signature, codes and guarantees."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from schemas.asyncapi.channels import CHANNELS, Channel
from schemas.asyncapi.codes import IN_DEAD_LETTERS, ON_RESULTS
from schemas.asyncapi.examples import EXAMPLES, example_headers, example_key
from schemas.asyncapi.headers import CLAIMS, SIGNATURE, headers_of
from schemas.asyncapi.shapes import schemas_of
from schemas.connection import KafkaSettings
from schemas.events import TERMINAL
from schemas.topics import Topics, TopicSpec

__all__ = ["document", "event_shapes", "type_of"]

_BINDING = "0.5.0"
_ABOUT = (
    "easel takes signed request events from Kafka and publishes what became of each: a decision, and one end with the"
    " keys of the pictures. Events are CloudEvents 1.0 in Kafka's binary mode: attributes are headers, the value is"
    " JSON.\n\nThe names of the topics begin with the installation's prefix (EASEL_KAFKA_PREFIX), which is easel here."
    " Within a version of a type, fields and codes are only added; take those that you don't know as they come."
    " events.md tells all of it in order, with programs that run."
)


def type_of(shape: type[BaseModel]) -> str:
    """The ``ce_type`` (of dead letters the ``easel_type``) of a public event."""
    return str(vars(shape)["TYPE"])


def event_shapes() -> dict[str, type[BaseModel]]:
    """Type → shape of every public event."""
    return {type_of(shape): shape for channel in CHANNELS for shape in channel.messages}


def document(version: str) -> dict[str, Any]:
    """The whole contract at a version, as the content of an AsyncAPI 3.1 document."""
    return {
        "asyncapi": "3.1.0",
        "id": "urn:easel:events",
        "info": {
            "title": "easel events",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": {
                **schemas_of(tuple(event_shapes().values())),
                "SignatureClaims": CLAIMS,
            },
            "securitySchemes": {
                "scram": {"type": "scramSha512", "description": "A user of the cluster."},
                "certificate": {"type": "X509", "description": "A client certificate."},
            },
        },
        "x-error-codes": {
            "results": {code.value: text for code, text in ON_RESULTS.items()},
            "deadLetters": {code.value: text for code, text in IN_DEAD_LETTERS.items()},
        },
    }


def _servers() -> dict[str, Any]:
    return {
        "local": {
            "host": KafkaSettings().bootstrap_servers,
            "protocol": "kafka",
            "description": "What `easel up` starts.",
        },
        "cluster": {
            "host": "kafka.example.com:9093",
            "protocol": "kafka-secure",
            "description": "A cluster with TLS.",
            "security": [
                {"$ref": "#/components/securitySchemes/scram"},
                {"$ref": "#/components/securitySchemes/certificate"},
            ],
        },
    }


def _channel(channel: Channel) -> dict[str, Any]:
    types = [type_of(shape) for shape in channel.messages]
    made: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "summary": channel.summary,
        "description": "\n".join(f"- {line}" for line in channel.guarantees),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
    }
    if "{tenant}" in channel.address:
        made["parameters"] = {"tenant": {"description": "The tenant's name."}}
    made["bindings"] = {"kafka": _topic(_spec(channel))}
    made["x-key"] = channel.key
    made["x-guarantees"] = list(channel.guarantees)
    return made


def _spec(channel: Channel) -> TopicSpec:
    defaults = KafkaSettings()
    specs = Topics().specs(
        partitions=defaults.partitions,
        jobs_partitions=defaults.jobs_partitions,
        replication=defaults.replication,
        pools=(),
        own_topics=["{tenant}"],
    )
    return next(spec for spec in specs if spec.name == channel.address)


def _topic(spec: TopicSpec) -> dict[str, Any]:
    settings: dict[str, Any] = {"cleanup.policy": spec.config["cleanup.policy"].split(",")}
    for name in ("retention.ms", "max.message.bytes"):
        if name in spec.config:
            settings[name] = int(spec.config[name])
    return {"partitions": spec.partitions, "topicConfiguration": settings, "bindingVersion": _BINDING}


def _operations() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for channel in CHANNELS:
        reference = {"$ref": f"#/channels/{channel.name}"}
        operation: dict[str, Any] = {
            "action": "receive" if channel.direction == "in" else "send",
            "channel": reference,
            "summary": channel.summary,
        }
        if channel.direction == "in":
            operation["reply"] = {"channel": {"$ref": "#/channels/results"}}
            operation["x-signature"] = SIGNATURE
        made[("take" if channel.direction == "in" else "tell") + channel.name[0].upper() + channel.name[1:]] = operation
    return made


def _messages() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for channel in CHANNELS:
        for shape in channel.messages:
            name = type_of(shape)
            made.setdefault(name, _message(channel, shape, name))
    return made


def _message(channel: Channel, shape: type[BaseModel], name: str) -> dict[str, Any]:
    # Of a request what its publisher writes; of an event all fields, as they are on the wire.
    payload = EXAMPLES[shape].model_dump(mode="json", exclude_unset=channel.direction == "in")
    key: dict[str, Any] = {"type": "string", "description": channel.key}
    if channel.key_pattern is not None:
        key["pattern"] = channel.key_pattern
    message: dict[str, Any] = {
        "name": name,
        "title": shape.__name__,
        "contentType": "application/json",
        "headers": headers_of(channel.headers, name),
        "payload": {"$ref": f"#/components/schemas/{shape.__name__}"},
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
        "examples": [{"name": "example", "headers": example_headers(channel, name), "payload": payload}],
        "x-example-key": example_key(channel),
    }
    if channel.headers != "letter":
        where = "ce_id" if channel.direction == "in" else "ce_subject"
        message["correlationId"] = {"description": "The request's id.", "location": f"$message.header#/{where}"}
    if name in TERMINAL:
        message["x-terminal"] = True
    return message
