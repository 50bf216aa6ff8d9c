"""Settings of every easel process, read from the environment.

Names are ``EASEL_`` + the section + the field: ``EASEL_KAFKA_BOOTSTRAP_SERVERS``, ``EASEL_STORE_ENDPOINT``. Each secret
may instead be given as the path of a file that holds it (``EASEL_KAFKA_PASSWORD_FILE``), as Docker and Kubernetes mount
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.addresses import AllowList
from schemas.connection import KafkaSettings, Section, StoreSettings
from schemas.yaml_file import ConfigError

__all__ = [
    "AdmissionSettings",
    "ApiSettings",
    "GenerationSettings",
    "OutboundSettings",
    "Settings",
    "TracingSettings",
    "WebhooksSettings",
]

_SECRETS = (
    ("kafka", "password"),
    ("kafka", "client_secret"),
    ("store", "access_key"),
    ("store", "secret_key"),
    ("api", "signing_key"),
    ("api", "token_secret"),
)

Port = Annotated[int, Field(ge=0, le=65_535)]


class AdmissionSettings(Section):
    """The admission stage. Times in seconds, sizes in records or milli-units."""

    instance_id: str | None = None
    """A name that outlives restarts (a StatefulSet's pod name): recovery then takes about 1 s instead of a session."""
    session_timeout_s: float = Field(default=6.0, ge=1.0, le=300.0)
    batch_records: int = Field(default=500, ge=1, le=5_000)
    window_jobs: int = Field(default=16, ge=1)
    """Jobs that one partition may have with a pool while the capacity of its workers is not known."""
    lease_s: float = Field(default=60.0, ge=1.0)
    """A job that no living worker has named for this long, while its pool has one, is sent again."""
    remembered_h: float = Field(default=72.0, ge=49.0, le=24 * 365)
    """How long the id of a request is known after its end; at least as long as its token can bring it again."""
    health_host: str = "127.0.0.1"
    health_port: Port = 9101


class GenerationSettings(Section):
    """The generation stage. Times in seconds."""

    pool: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = "default"
    session_timeout_s: float = Field(default=10.0, ge=1.0, le=300.0)
    max_poll_interval_s: float = Field(default=300.0, ge=1.0)
    drain_s: float = Field(default=25.0, ge=0.0)
    """How long a running batch may go on after SIGTERM; keep it under the platform's own grace period."""
    hang_s: float = Field(default=120.0, gt=0.0)
    """A child that reports no step for this long is killed and started again."""
    engine_memory_mib: int | None = Field(default=None, ge=256)
    """A child that has grown above this much main memory (MiB) is ended between two batches and started again."""
    engine: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] | None = None
    """Overrides the engine of every model: ``null`` stores small real pictures without a model."""
    models_mib: int = Field(default=0, ge=0)
    """The models of the pool stay loaded as long as their weights take no more than this together; one always may."""
    max_split_size_mb: Annotated[int, Field(ge=21)] | None = None
    """Torch's setting for GPUs: it keeps larger blocks of free memory whole, against fragments."""
    health_host: str = "127.0.0.1"
    health_port: Port = 9102


class ApiSettings(Section):
    """The HTTP shim. Times in seconds."""

    host: str = "127.0.0.1"
    port: Port = 8080
    issuer: str = "easel-api"
    """The ``iss`` under which the shim signs; an issuer of that name stands in ``tenants.yaml``."""
    signing_kid: str = "easel-api-1"
    signing_key: SecretStr | None = None
    decision_wait_s: float = Field(default=2.0, gt=0.0)
    url_ttl_s: int = Field(default=3_600, ge=1, le=7 * 24 * 3_600)
    """How long a link to a picture works; S3 signs for a week at most."""
    state_file: Path = Path(".easel/api.sqlite")
    """What it has read from the topics; may be deleted at any time and is made again."""
    openai_wait_s: float = Field(default=300.0, gt=0.0, le=3_600.0)
    """How long ``/v1/images/…`` waits for pictures; OpenAI's clients give up after 10 minutes, and ask anew."""
    users_file: Path | None = None
    """Who may sign in by name and password (``POST /token``)."""
    token_secret: SecretStr | None = None
    """Signs the tokens of those; at least 32 bytes, the same for all instances."""
    cors_origins: str | None = None
    """Origins, such as ``https://cms.example.org``, whose pages may call it in a browser; with spaces between them."""
    connections: int = Field(default=4_096, ge=1)
    """Further ones are answered 503."""
    max_body_mib: int = Field(default=32, ge=1, le=1_024)
    leave_s: float = Field(default=0.0, ge=0.0, le=300.0)
    """After SIGTERM it says that it is not ready and goes on serving for so long, until balancers have seen it."""
    grace_s: float = Field(default=10.0, ge=0.0, le=3_600.0)
    """Then answers under way may take so long; streams are ended at once, with word to come again."""
    log_file: Path | None = None
    """Its log, in place of standard error."""
    log_file_mib: int = Field(default=64, ge=1)
    log_files: int = Field(default=5, ge=1, le=1_000)
    source_urls: bool = False
    """Sources may be named by ``https`` URLs, which are fetched within the limits of ``outbound``."""


class OutboundSettings(Section):
    """What may be called of the addresses that tenants name, as sources of pictures and as webhooks."""

    ports: Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}(,[0-9]{1,5})*|any)$")] = "443"
    """Separated by commas, or ``any``."""
    allow: str | None = None
    """Networks (``10.1.0.0/16``) and host names, separated by commas, that may be called though they are not public."""
    plain_http: bool = False
    """Also ``http://``, for an installation on one machine or in a closed network."""

    @field_validator("allow")
    @classmethod
    def _can_be_read(cls, given: str | None) -> str | None:
        AllowList.read(given or "")
        return given


class WebhooksSettings(Section):
    """The webhooks stage. Times in seconds unless the name says hours."""

    instance_id: str | None = None
    """A name that outlives restarts: what it serves is then served again in about 1 s instead of a session."""
    session_timeout_s: float = Field(default=6.0, ge=1.0, le=300.0)
    timeout_s: float = Field(default=15.0, gt=0.0, le=60.0)
    """Limit on one delivery, from the look-up of the address to the answer's head."""
    retry_for_h: float = Field(default=24.0, gt=0.0, le=72.0)
    """How long an event is tried, from its first attempt; then it goes to the dead letters."""
    per_endpoint: int = Field(default=4, ge=1, le=100)
    """Deliveries to one endpoint at a time."""
    concurrency: int = Field(default=64, ge=1, le=1_000)
    """Deliveries of this process at a time; one tenant has three quarters of them at most."""
    owed: int = Field(default=10_000, ge=1)
    """Events that wait for one endpoint; those beyond go to the dead letters at once."""
    health_host: str = "127.0.0.1"
    health_port: Port = 9103


class TracingSettings(Section):
    """Spans for OpenTelemetry."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")] | None = None
    """Where a collector takes OTLP over HTTP, such as ``http://127.0.0.1:4318``; nothing is traced without one."""


class Settings(BaseSettings):
    """Everything that one process of an installation needs to know."""

    model_config = SettingsConfigDict(
        env_prefix="EASEL_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    installation: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")] = "easel"
    """The name of this installation: the ``aud`` of every request and the ``ce_source`` of every event."""
    tenants: Path = Path("tenants.yaml")
    models: Path = Path("models.yaml")
    log_prompts: bool = False
    """Logs hold prompts as they are, not their hash and length."""
    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    admission: AdmissionSettings = AdmissionSettings()
    generation: GenerationSettings = GenerationSettings()
    api: ApiSettings = ApiSettings()
    outbound: OutboundSettings = OutboundSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code come first, then the environment."""
        return (init_settings, _Environment(settings_cls))


class _Environment(EnvSettingsSource):
    """Also reads ``EASEL_<SECRET>_FILE``: a secret in a file shows in neither ``docker inspect`` nor ``/proc``."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for section, field in _SECRETS:
            values = found.get(section)
            if not isinstance(values, dict):
                continue
            path = values.pop(f"{field}_file", None)
            if not path:
                continue
            variable = f"EASEL_{section}_{field}".upper()
            if field in values:
                raise ConfigError(f"{variable} and {variable}_FILE are both set: keep one")
            try:
                values[field] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                raise ConfigError(f"{variable}_FILE: {path} can't be read: {reason}") from None
        return found
