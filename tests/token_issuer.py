"""An issuer of access tokens on the loopback interface: a token endpoint, and its public key for a broker."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "kafka"
ISSUER = "https://issuer.test"


@dataclass
class TokenIssuer:
    """``clients``: id → secret. A token names its client as ``sub``, which is then the Kafka user."""

    directory: Path
    clients: dict[str, str] = field(default_factory=dict)
    life_s: float = 300.0
    given: int = 0
    down: bool = False

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        self.jwks = self.directory / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def token(self, subject: str) -> str:
        now = time.time()
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": int(now), "exp": int(now + self.life_s)}
        self.given += 1
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "one"})

    def broker_properties(self) -> dict[str, str]:
        """By which a broker's SASL_SSL listener takes the tokens beside SCRAM, and asks for a new one every 2 s."""
        listener = "listener.name.sasl_ssl"
        validator = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
        module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            f"{listener}.oauthbearer.sasl.jaas.config": f"{module} required;",
            f"{listener}.oauthbearer.sasl.server.callback.handler.class": validator,
            f"{listener}.oauthbearer.connections.max.reauth.ms": "2000",
            "sasl.oauthbearer.jwks.endpoint.url": self.jwks.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
        }

    def java_options(self) -> list[str]:
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.jwks.as_uri()}"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(issuer: TokenIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            client, _, secret = base64.b64decode(self.headers["Authorization"].split()[1]).decode().partition(":")
            client, secret = unquote(client), unquote(secret)
            if issuer.down:
                self._answer(503, {"error": "temporarily_unavailable"})
            elif form["grant_type"] != ["client_credentials"] or issuer.clients.get(client) != secret:
                self._answer(401, {"error": "invalid_client"})
            else:
                token = issuer.token(client)
                self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": issuer.life_s})

        def _answer(self, status: int, body: dict[str, object]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler
