"""A broker and a store that let in only users whom they know, and how each user reaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ops.local.stack import Endpoints, Stack
from ops.local.users import Users
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from schemas.topics import Topics
from tests.stack import PARTITIONS, fresh_name
from tests.token_issuer import TokenIssuer

TENANTS = ("acme", "bolt")


class SecureStack:
    """One stack for a test session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.issuer = TokenIssuer(directory)
        self.stack = Stack(
            directory,
            secure=True,
            kafka_properties=self.issuer.broker_properties(),
            java_options=self.issuer.java_options(),
        )

    async def site(self, tenants: Mapping[str, bool] | None = None) -> Site:
        """Names of one's own on it, with a user for each role; neither topics nor a bucket are there.

        ``tenants``: whether each has a topic of its own.
        """
        endpoints = self.stack.up()
        site = Site(self.directory, endpoints, fresh_name(), fresh_name())
        names = tenants or dict.fromkeys(TENANTS, True)
        await Users(self.directory).provide(endpoints, topics=Topics(site.prefix), bucket=site.bucket, tenants=names)
        return site

    def down(self) -> None:
        self.stack.down()
        self.issuer.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A prefix and a bucket on a secure stack."""

    directory: Path
    endpoints: Endpoints
    prefix: str
    bucket: str

    def kafka(self, user: str, *, password: str | None = None) -> KafkaSettings:
        """The broker, as this user."""
        return KafkaSettings(
            bootstrap_servers=self.endpoints.kafka,
            prefix=self.prefix,
            partitions=PARTITIONS,
            jobs_partitions=PARTITIONS,
            security_protocol="SASL_SSL",
            username=user,
            password=SecretStr(password or self.secret(f"{user}.password")),
            ca_file=self.endpoints.ca_file,
        )

    @property
    def admin(self) -> KafkaSettings:
        """The broker, as its admin."""
        assert self.endpoints.admin is not None
        return self.endpoints.admin

    def store(self, user: str | None = None) -> StoreSettings:
        """The store, as this user, or as its root."""
        root = self.endpoints.store_root.model_copy(update={"bucket": self.bucket})
        if user is None:
            return root
        keys = {"access_key": SecretStr(user), "secret_key": SecretStr(self.secret(f"{user}.store-secret"))}
        return root.model_copy(update=keys)

    def settings(self, user: str) -> Settings:
        """Both, as this user; with keys that open nothing where it has no business in the store."""
        has_keys = (self.directory / "users" / f"{user}.store-secret").exists()
        nobody = {"access_key": SecretStr("nobody"), "secret_key": SecretStr("nobody-at-all")}
        store = self.store(user) if has_keys else self.store().model_copy(update=nobody)
        return Settings(kafka=self.kafka(user), store=store)

    def settings_with(self, user: str, password: str, store_secret: str) -> Settings:
        """Both, as a user that was made by hand."""
        keys = {"access_key": SecretStr(user), "secret_key": SecretStr(store_secret)}
        return Settings(kafka=self.kafka(user, password=password), store=self.store().model_copy(update=keys))

    def secret(self, name: str) -> str:
        return (self.directory / "users" / name).read_text().strip()
