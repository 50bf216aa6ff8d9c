"""The tokens that a user gets for a password: a JWT (HS256) to ask with for a day, and one to get the next with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jwt

from schemas.ids import new_id

__all__ = ["ACCESS_S", "MIN_SECRET_BYTES", "REFRESH_S", "Claims", "Tokens"]

ACCESS_S = 24 * 3600
REFRESH_S = 30 * 24 * 3600
MIN_SECRET_BYTES = 32
_ALGORITHM = "HS256"
_REQUIRED = ["iss", "aud", "sub", "iat", "exp", "pwd"]
# RFC 9068 names the first; that they differ is what keeps one from being taken for the other.
_TYPES = {"access": "at+jwt", "refresh": "rt+jwt"}

Use = Literal["access", "refresh"]


class Claims(NamedTuple):
    """What a token says that verifies. ``family`` and ``number`` are a refresh token's: the sign-in that it began
    with, and how many there were before it."""

    user: str
    fingerprint: str
    family: str
    number: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Signs and verifies, with a secret that all instances of the API share. Times in seconds since 1970."""

    secret: bytes
    issuer: str
    audience: str

    def access(self, user: str, fingerprint: str, *, now_s: float) -> str:
        """A token to ask with."""
        return self._signed("access", user, fingerprint, now_s, ACCESS_S, {})

    def refresh(self, user: str, fingerprint: str, *, now_s: float, family: str = "", number: int = 0) -> str:
        """A token to get the next two with; the first of a new family where none is named."""
        more: dict[str, str | int] = {"fam": family or new_id(), "num": number}
        return self._signed("refresh", user, fingerprint, now_s, REFRESH_S, more)

    def read(self, token: str, use: Use) -> Claims | None:
        """What a token says; None for one that is not ours, not for this use, or expired."""
        try:
            if jwt.get_unverified_header(token).get("typ") != _TYPES[use]:
                return None
            claims = jwt.decode(
                token,
                self.secret,
                algorithms=[_ALGORITHM],
                issuer=self.issuer,
                audience=self.audience,
                options={"require": _REQUIRED},
            )
            return Claims(claims["sub"], str(claims["pwd"]), str(claims.get("fam", "")), int(claims.get("num", 0)))
        except (jwt.PyJWTError, ValueError, TypeError):
            return None

    def _signed(
        self, use: Use, user: str, fingerprint: str, now_s: float, lifetime_s: int, more: dict[str, str | int]
    ) -> str:
        now = int(now_s)
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": user,
            "pwd": fingerprint,
            "iat": now,
            "exp": now + lifetime_s,
            **more,
        }
        return jwt.encode(claims, self.secret, algorithm=_ALGORITHM, headers={"typ": _TYPES[use]})
