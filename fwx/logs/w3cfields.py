"""The fields of the W3C extended files of the firewall log (topic 9's table)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "computer": ("servername",),
    "date": ("GmtLogTime",),
    "time": ("GmtLogTime",),
    "IP protocol": ("protocol",),
    "source": ("SourceIP", "SourcePort"),
    "destination": ("DestinationIP", "DestinationPort"),
    "original client IP": ("OriginalClientIP",),
    "source network": ("SourceNetwork",),
    "destination network": ("DestinationNetwork",),
    "action": ("Action",),
    "status": ("resultcode",),
    "rule": ("rule",),
    "application protocol": ("ApplicationProtocol",),
    "bidirectional": (),
    "bytes sent": ("bytessent",),
    "bytes sent intermediate": ("bytessentDelta",),
    "bytes received": ("bytesrecvd",),
    "bytes received intermediate": ("bytesrecvdDelta",),
    "connection time": ("connectiontime",),
    "connection time intermediate": ("connectiontimeDelta",),
    "source proxy": ("SourceProxy",),
    "destination proxy": ("DestinationProxy",),
    "source name": (),
    "destination name": ("DestinationName",),
    "username": ("ClientUserName",),
    "agent": ("ClientAgent",),
    "session ID": ("sessionid",),
    "connection ID": ("connectionid",),
    "interface": ("Interface",),
    "IP header": (),
    "protocol payload": (),
    "x-filters": ("filters",),
    "x-reason": ("reason",),
    "x-nat-address": ("NATAddress",),
}
"""The fields in order, by their W3C names, each with the columns that it is made of; ``x-`` are ours. What the columns
of TMG 2010 are called in a file is not known (B9.9)."""
