"""The one error of the local stack."""

from __future__ import annotations


class LocalStackError(Exception):
    """A part is missing, did not start or did not answer; the message says which, where its log is, and the remedy."""
