"""Users who sign in: who they are, for which tenant they ask, and how often they may."""

from __future__ import annotations

import time
from typing import NamedTuple

from producer_api.followed import FollowedFile
from producer_api.login.families import Families
from producer_api.login.passwords import MAX_PASSWORD_CHARS, Passwords
from producer_api.login.throttle import Attempts, Rates
from producer_api.login.tokens import MIN_SECRET_BYTES, Claims, Tokens
from schemas.settings import Settings
from schemas.users import MAX_NAME_CHARS, User, load_users
from schemas.yaml_file import ConfigError
from transport.objects import ObjectStore

__all__ = ["Logins", "Pair", "TooManyTriesError"]


class Pair(NamedTuple):
    """What a user gets."""

    access: str
    refresh: str


class TooManyTriesError(Exception):
    """This name was tried too often; ``retry_after_s`` says when it may be again."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("tried too often")
        self.retry_after_s = retry_after_s


class Logins:
    """Raises ``ConfigError`` for a users file or a secret that can't be used."""

    def __init__(self, users: FollowedFile[dict[str, User]], tokens: Tokens, families: Families) -> None:
        self._users = users
        self._tokens = tokens
        self._families = families
        self._passwords = Passwords()
        self._attempts = Attempts()
        self._rates = Rates()

    @classmethod
    def build(cls, settings: Settings, objects: ObjectStore) -> Logins | None:
        """None where nobody is to sign in: neither the file nor the secret is set."""
        api = settings.api
        if api.users_file is None and api.token_secret is None:
            return None
        if api.users_file is None or api.token_secret is None:
            raise ConfigError("signing in needs both EASEL_API_USERS_FILE and EASEL_API_TOKEN_SECRET_FILE")
        secret = api.token_secret.get_secret_value().encode()
        if len(secret) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"EASEL_API_TOKEN_SECRET has fewer than {MIN_SECRET_BYTES} bytes: `openssl rand -base64 48` makes one"
            )
        users = FollowedFile(api.users_file, lambda path: dict(load_users(path)))
        tokens = Tokens(secret, issuer=api.issuer, audience=settings.installation)
        return cls(users, tokens, Families(objects))

    def start(self) -> None:
        """Follow the users file."""
        self._users.start()

    async def stop(self) -> None:
        """Follow it no longer."""
        await self._users.stop()
        self._passwords.stop()

    def user_of(self, token: str) -> User | None:
        """Who asks with an access token; None once the user is gone or has another password."""
        claims = self._tokens.read(token, "access")
        return None if claims is None else self._current(claims)

    def wait_s(self, user: User) -> float:
        """Count a request of a user; 0, or the seconds until there may be one more."""
        if user.requests_per_minute is None:
            return 0.0
        return self._rates.take(user.user, user.requests_per_minute, time.monotonic())

    async def sign_in(self, name: str, password: str) -> Pair | None:
        """Tokens for a name and its password; None when they don't fit. Raises ``TooManyTriesError`` and
        ``BusyError``."""
        # What is not checked is not counted: else a flood of names would push out those that are held back.
        self._passwords.require_room()
        if wait_s := self._attempts.begin(name[:MAX_NAME_CHARS], time.monotonic()):
            raise TooManyTriesError(wait_s)
        user = self._users.content.get(name)
        hash_ = None if user is None or len(password) > MAX_PASSWORD_CHARS else user.password
        if not await self._passwords.fits(password[:MAX_PASSWORD_CHARS], hash_) or user is None:
            return None
        self._attempts.succeeded(name[:MAX_NAME_CHARS])
        now_s = time.time()
        return Pair(
            self._tokens.access(name, user.fingerprint, now_s=now_s),
            self._tokens.refresh(name, user.fingerprint, now_s=now_s),
        )

    async def refresh(self, token: str) -> Pair | None:
        """The next two tokens for a refresh token, which is spent by that; None when it is not good (any more).

        Raises ``TransportError`` when the store does not answer: it is not spent then.
        """
        claims = self._tokens.read(token, "refresh")
        user = None if claims is None else self._current(claims)
        if claims is None or user is None:
            return None
        if not await self._families.advance(user.tenant, claims.family, claims.number):
            return None
        now_s = time.time()
        return Pair(
            self._tokens.access(user.user, user.fingerprint, now_s=now_s),
            self._tokens.refresh(
                user.user, user.fingerprint, now_s=now_s, family=claims.family, number=claims.number + 1
            ),
        )

    async def revoke(self, token: str) -> None:
        """End the sign-in that a refresh token belongs to. A token that is not good is no error (RFC 7009)."""
        claims = self._tokens.read(token, "refresh")
        user = None if claims is None else self._current(claims)
        if claims is not None and user is not None:
            await self._families.revoke(user.tenant, claims.family)

    def _current(self, claims: Claims) -> User | None:
        user = self._users.content.get(claims.user)
        return user if user is not None and user.fingerprint == claims.fingerprint else None
