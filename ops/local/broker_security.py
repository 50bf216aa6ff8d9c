"""How the local broker is secured: TLS on every listener, users by SCRAM or certificate, and ACLs for each."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ops.local.authority import Authority, Identity
from schemas.connection import KafkaSettings

__all__ = ["ADMIN", "BROKER", "BrokerSecurity"]

BROKER, ADMIN = "easel-broker", "easel-admin"
"""The names in the certificates of the node itself and of who looks after it: the only super users."""


@dataclass(frozen=True, slots=True)
class BrokerSecurity:
    """The certificates of one local broker, which lie with its authority."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        """What its clients have to trust."""
        return self.directory / "ca.pem"

    @property
    def admin(self) -> Identity:
        """By which the stack makes users and ACLs."""
        return Identity(self.directory / f"{ADMIN}.pem", self.directory / f"{ADMIN}.key")

    def prepare(self) -> None:
        """Issue the certificates, anew at each start: none expires in a stack that is started now and then."""
        authority = Authority(self.directory)
        authority.issue(BROKER).joined(self._key_store)
        authority.issue(ADMIN)

    def properties(self, port: int, certificate_port: int, controller_port: int) -> dict[str, str]:
        """What is laid over a plain broker's settings.

        Two listeners: SASL_SSL for users with a password, SSL for those with a certificate, whose name is its CN.
        """
        clients = f"SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{certificate_port}"
        return {
            "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._key_store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "ssl.client.auth": "required",
            # Who has a password needs no certificate.
            "listener.name.sasl_ssl.ssl.client.auth": "none",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/,DEFAULT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{BROKER};User:{ADMIN}",
        }

    def context(self) -> ssl.SSLContext:
        """By which the node is asked how it is."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(self.admin.cert_file, self.admin.key_file)
        return context

    def admin_settings(self, address: str) -> KafkaSettings:
        """How the admin reaches the node by its listener for certificates."""
        return KafkaSettings(
            bootstrap_servers=address,
            security_protocol="SSL",
            ca_file=self.ca_file,
            cert_file=self.admin.cert_file,
            key_file=self.admin.key_file,
        )

    @property
    def _key_store(self) -> Path:
        return self.directory / "broker-keystore.pem"
