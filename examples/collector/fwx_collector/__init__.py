"""A filter that counts connections and bytes, and reports over sockets of the firewall."""

from __future__ import annotations

from fwx_collector.collector import Collector

__all__ = ["Collector"]
