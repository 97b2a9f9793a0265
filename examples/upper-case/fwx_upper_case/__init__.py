"""A filter that turns text into upper case on its way through the firewall."""

from __future__ import annotations

from fwx_upper_case.upper_case import UpperCase

__all__ = ["UpperCase"]
