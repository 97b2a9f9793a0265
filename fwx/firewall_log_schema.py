"""The columns of the firewall log, and how its rows are made.

The columns of ``firewall_log`` carry the SQL names of the TMG firewall log and come in its order: the 33 of the older
table (B9.8), the fifteen of TMG 2010 (B9.9), and ours, ``filters`` and ``reason``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fwx.impl.alert import Alert
from fwx.impl.logrecord import LogRecord

COLUMNS: Final[Mapping[str, str]] = {
    "servername": "TEXT",
    "logTime": "TEXT",
    "protocol": "TEXT",
    "SourceIP": "TEXT",
    "SourcePort": "INTEGER",
    "DestinationIP": "TEXT",
    "DestinationPort": "INTEGER",
    "OriginalClientIP": "TEXT",
    "SourceNetwork": "TEXT",
    "DestinationNetwork": "TEXT",
    "Action": "INTEGER",
    "resultcode": "INTEGER",
    "rule": "TEXT",
    "ApplicationProtocol": "TEXT",
    "Bidirectional": "INTEGER",
    "bytessent": "INTEGER",
    "bytessentDelta": "INTEGER",
    "bytesrecvd": "INTEGER",
    "bytesrecvdDelta": "INTEGER",
    "connectiontime": "INTEGER",
    "connectiontimeDelta": "INTEGER",
    "SourceProxy": "TEXT",
    "DestinationProxy": "TEXT",
    "SourceName": "TEXT",
    "DestinationName": "TEXT",
    "ClientUserName": "TEXT",
    "ClientAgent": "TEXT",
    "sessionid": "INTEGER",
    "connectionid": "INTEGER",
    "Interface": "TEXT",
    "IPHeader": "TEXT",
    "Payload": "TEXT",
    "GmtLogTime": "TEXT",
    "ipsScanResult": "INTEGER",
    "ipsSignature": "TEXT",
    "NATAddress": "TEXT",
    "FwcClientFqdn": "TEXT",
    "FwcAppPath": "TEXT",
    "FwcAppSHA1Hash": "TEXT",
    "FwcAppTrusState": "INTEGER",
    "FwcAppInternalName": "TEXT",
    "FwcAppProductName": "TEXT",
    "FwcAppProductVersion": "TEXT",
    "FwcAppFileVersion": "TEXT",
    "FwcAppOrgFileName": "TEXT",
    "InternalServiceInfo": "INTEGER",
    "ipsApplicationProtocol": "TEXT",
    "FwcVersion": "TEXT",
    "filters": "TEXT",
    "reason": "TEXT",
}
"""The columns of ``firewall_log`` after its ``id``. ``logTime`` is local time (B9.3), ``GmtLogTime`` UTC."""

NEVER_KNOWN: Final = frozenset(
    {
        "Bidirectional",
        "SourceName",
        "IPHeader",
        "Payload",
        "ipsScanResult",
        "ipsSignature",
        "FwcClientFqdn",
        "FwcAppPath",
        "FwcAppSHA1Hash",
        "FwcAppTrusState",
        "FwcAppInternalName",
        "FwcAppProductName",
        "FwcAppProductVersion",
        "FwcAppFileVersion",
        "FwcAppOrgFileName",
        "InternalServiceInfo",
        "ipsApplicationProtocol",
        "FwcVersion",
    }
)
"""Columns that hold their default, 0 or nothing, in every row: what they tell of (the packet's header, an intrusion
inspection, the client's program) this service does not see. ``Bidirectional`` 0 is "not logged" (field 13)."""

_COMPUTED = ("logTime", "GmtLogTime", "bytessentDelta", "bytesrecvdDelta", "connectiontimeDelta", "Action")
# The columns that hold what a record has from its third place on, up to and without its last one, in its order.
_COPIED = (
    "servername",
    "protocol",
    "SourceIP",
    "SourcePort",
    "DestinationIP",
    "DestinationPort",
    "DestinationName",
    "OriginalClientIP",
    "SourceNetwork",
    "DestinationNetwork",
    "resultcode",
    "rule",
    "ApplicationProtocol",
    "bytessent",
    "bytesrecvd",
    "connectiontime",
    "SourceProxy",
    "DestinationProxy",
    "ClientUserName",
    "ClientAgent",
    "sessionid",
    "connectionid",
    "Interface",
    "filters",
    "reason",
    "NATAddress",
)
WRITTEN: Final = (*_COMPUTED, *_COPIED)
"""The columns of a row that :class:`RowMaker` makes, which copies most of them from a record, in its order."""

ALERT_COLUMNS: Final[Mapping[str, str]] = {
    "time": "TEXT",
    "event": "TEXT",
    "severity": "INTEGER",
    "filter": "TEXT",
    "key": "TEXT",
    "message": "TEXT",
    "traceback": "TEXT",
    "count": "INTEGER",
}
"""The columns of ``alerts`` after its ``id``. ``time`` is UTC."""

Row = Sequence[str | int]
"""The values of one row: of ``firewall_log`` in the order of :data:`WRITTEN`, of ``alerts`` of them all."""


class FirewallLogError(Exception):
    """A firewall log cannot be used; the text names the file or database and says what is wrong with it."""


_FRACTIONS = tuple(f".{number:03}" for number in range(1000))
_RESULT = _COPIED.index("resultcode")


class RowMaker:
    """Makes rows, on a thread that shares the interpreter with the data: in as few steps as there are.

    The text of a time is made once per second, and once per millisecond; most records share it.
    """

    def __init__(self) -> None:
        self._second = -1
        self._local = ""
        self._gmt = ""
        self._milliseconds = -1
        self._stamped = ("", "")

    def _stamp(self, when: float) -> tuple[str, str]:
        milliseconds = int(when * 1000 + 0.5)
        if milliseconds == self._milliseconds:
            return self._stamped
        second, millisecond = divmod(milliseconds, 1000)
        if second != self._second:
            self._local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))
            self._gmt = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        fraction = _FRACTIONS[millisecond]
        stamped = self._stamped = self._local + fraction, self._gmt + fraction + "Z"
        self._milliseconds = milliseconds
        return stamped

    def record_row(self, record: LogRecord) -> Row:
        sent, received, lasted = record.logged_before
        computed = (
            record.bytes_sent - sent,
            record.bytes_received - received,
            record.connection_time - lasted,
            int(record.action),
        )
        copied: tuple[Any, ...] = record[2:-1]
        if type(copied[_RESULT]) is not int:  # an HRESULT, which not every database takes for a number
            copied = record._replace(resultcode=int(record.resultcode))[2:-1]
        stamps: tuple[Any, ...] = self._stamp(record.time)
        return stamps + computed + copied

    def alert_row(self, alert: Alert) -> Row:
        gmt = self._stamp(alert.time)[1]
        severity, text = int(alert.severity), (alert.source, alert.key, alert.message, alert.traceback)
        return (gmt, alert.event, severity, *text, alert.count)


def storable(row: Row) -> Row:
    """Make every value fit for a database: 64 bits, no objects, no lone surrogates, which names of the network have."""
    return [
        max(-(2**63), min(value, 2**63 - 1))
        if isinstance(value, int)
        else str(value).encode("utf-8", "backslashreplace").decode()
        for value in row
    ]
