"""Users that other machines know: LDAP and RADIUS directories, and those of plugins."""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "\\"
"""Stands between the name of a directory and that of a user or group in it."""
