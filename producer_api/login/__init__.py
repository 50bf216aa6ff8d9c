"""Signing in with a name and a password, for clients that expect ``POST /token``."""
