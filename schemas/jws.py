"""The compact form of a signed token (RFC 7515), put together and taken apart; PyJWT's algorithms do the mathematics.

PyJWT's own decoder looks at each character in turn and prepares the key again for each token, which is four fifths of
what an HS256 token costs; its encoder prepares it anew too. It accepts padding: here a token has one spelling only.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import jwt
from pydantic_core import from_json, to_json

__all__ = ["Compact", "decoded", "encoded", "prepared_key", "signed", "verifies"]

_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]*)")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_URLSAFE = bytes.maketrans(b"+/", b"-_")


class Compact(NamedTuple):
    """A token in its parts. Nothing in it is verified."""

    header: MappingProxyType[str, Any]
    claims: bytes
    """The payload's part, still encoded: it is not worth decoding before the signature holds."""
    signed: bytes
    """What the signature is over."""
    signature: bytes

    @classmethod
    def read(cls, token: str) -> Compact:
        """Raises ``ValueError`` for anything that is not three parts of base64url with a JSON object in the first."""
        form = _FORM.fullmatch(token.encode())
        if form is None:
            raise ValueError("not three parts of base64url")
        header, claims, signature = form.groups()
        return cls(_header(header), claims, token[: form.end(2)].encode(), _bytes_of(signature))


def decoded(claims: bytes) -> dict[str, Any]:
    """The claims of a token. Raises ``ValueError`` for what is no JSON object."""
    return _object(_bytes_of(claims))


def encoded(part: Mapping[str, Any]) -> bytes:
    """A header or claims as they stand in a token."""
    return _part_of(to_json(part))


def signed(header: bytes, claims: Mapping[str, Any], algorithm: str, key: Any) -> str:
    """A token of an ``encoded`` header, with a key as ``prepared_key`` gives it."""
    said = header + b"." + encoded(claims)
    return (said + b"." + _part_of(_algorithm(algorithm).sign(said, key))).decode()


def prepared_key(algorithm: str, material: Any) -> Any:
    """A key as ``signed`` and ``verifies`` take it.

    Raises ``jwt.InvalidKeyError`` for one that this algorithm can't use safely.
    """
    by = jwt.get_algorithm_by_name(algorithm)
    key = by.prepare_key(material)
    if problem := by.check_key_length(key):
        raise jwt.InvalidKeyError(problem)
    return key


def verifies(token: Compact, algorithm: str, key: Any) -> bool:
    """Whether the signature is this key's."""
    return _algorithm(algorithm).verify(token.signed, key, token.signature)


@lru_cache
def _algorithm(name: str) -> jwt.algorithms.Algorithm:
    return jwt.get_algorithm_by_name(name)


@lru_cache(maxsize=256)
def _header(part: bytes) -> MappingProxyType[str, Any]:
    # Cached: all tokens of a key begin alike.
    return MappingProxyType(_object(_bytes_of(part)))


def _object(text: bytes) -> dict[str, Any]:
    found = from_json(text)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _part_of(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_URLSAFE)


def _bytes_of(part: bytes) -> bytes:
    data = binascii.a2b_base64(part.translate(_STANDARD) + b"=" * (-len(part) % 4), strict_mode=True)
    # Bits beyond the last whole byte say nothing, so that several spellings would mean the same.
    if _part_of(data) != part:
        raise ValueError("not the shortest spelling of its bytes")
    return data
