"""How to reach the two things easel stands on: Kafka and an S3 store.

Plain pydantic, so that the SDK needs no settings library; services read the same shapes from the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

__all__ = ["KafkaSettings", "Section", "StoreSettings"]

_NOT_IN_THE_CLEAR = ("https://", "http://127.0.0.1:", "http://localhost:")


class Section(BaseModel):
    """A group of settings: unknown names are refused, so that a misspelt one is not silently a default."""

    # An error about settings ends up in logs: it must not quote the password beside the misspelt name.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(Section):
    """The cluster, and how to sign in to it."""

    bootstrap_servers: str = "127.0.0.1:9092"
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,80}$")] = "easel"
    """First part of every topic, group and transactional id: two installations may share a cluster."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    username: str | None = None
    password: SecretStr | None = None
    token_file: Path | None = None
    """For OAUTHBEARER: a file that holds the token, read for each connection."""
    token_endpoint: str | None = None
    """For OAUTHBEARER without a file: the URL that gives tokens for ``client_id`` and ``client_secret``."""
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scope: str | None = None
    ca_file: Path | None = None
    """CA certificates (PEM); the system's are used when absent."""
    cert_file: Path | None = None
    """The client's own certificate (PEM), for brokers that ask for one."""
    key_file: Path | None = None
    request_timeout_ms: int = Field(default=5_000, ge=1_000)
    """The client's own limit on one request. Every limit of ours on a call is shorter."""
    partitions: int = Field(default=12, ge=1, le=1_000)
    """P, fixed when the topics are made."""
    jobs_partitions: int = Field(default=48, ge=1, le=10_000)
    """J, at least the number of workers of the largest fleet."""
    replication: int = Field(default=1, ge=1, le=9)

    @model_validator(mode="after")
    def _sasl_has_what_it_needs(self) -> KafkaSettings:
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism != "OAUTHBEARER":
            if self.username is None or self.password is None:
                raise ValueError(f"security_protocol {self.security_protocol} needs username and password")
        elif self.token_file is None:
            if self.token_endpoint is None or self.client_id is None or self.client_secret is None:
                raise ValueError("OAUTHBEARER needs token_file, or token_endpoint, client_id and client_secret")
            if not self.token_endpoint.startswith(_NOT_IN_THE_CLEAR):
                raise ValueError("token_endpoint must begin with https://: it is sent the client's secret")
        return self


class StoreSettings(Section):
    """The S3 store that holds the pictures."""

    endpoint: str = "127.0.0.1:9000"
    """``host:port``, without a scheme."""
    secure: bool = False
    """TLS."""
    ca_file: Path | None = None
    """CA certificates (PEM); the usual ones are used when absent."""
    public_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s@]+$")] | None = None
    """Scheme and host under which readers of links reach the store, where that is not ``endpoint``."""
    region: str = "us-east-1"
    bucket: str = "easel"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    timeout_s: float = Field(default=10.0, gt=0.0)
    """Limit on one call."""
