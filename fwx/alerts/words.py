"""An alert in words. What a client has sent may be among them, so control characters are written out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwx.impl.alert import Alert


def plain(text: str) -> str:
    """Return *text* as one line that can be printed, without characters that anything acts on."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def severity(alert: Alert) -> str:
    """Return the severity as configurations spell it (B9.25)."""
    return alert.severity.name.lower()


def sentence(alert: Alert) -> str:
    """Return the alert in one line, as the service's own log and the system's have it."""
    times = f" ({alert.count} times)" if alert.count > 1 else ""
    name = alert.event if alert.name == alert.event else f"{alert.name}: {alert.event}"
    return plain(f"alert: {name}: {alert.message}{times}")


def environment(alert: Alert, server: str) -> dict[str, str]:
    """Return the variables that a command finds, beside the message on its standard input."""
    named = {
        "NAME": alert.name,
        "EVENT": alert.event,
        "SEVERITY": severity(alert),
        "SOURCE": alert.source,
        "KEY": alert.key,
        "MESSAGE": alert.message,
        "COUNT": str(alert.count),
        "SERVER": server,
        "TIME": utc(alert.time),
    }
    return {f"FWX_ALERT_{name}": plain(value) for name, value in named.items()}


def subject(alert: Alert, server: str) -> str:
    """Return the subject of a mail."""
    return plain(f"fwx {server}: {severity(alert)}: {alert.name}")


def body(alert: Alert, server: str) -> str:
    """Return the text of a mail."""
    told: Mapping[str, str] = {
        "Alert": alert.name,
        "Event": alert.event,
        "Severity": severity(alert),
        "Server": server,
        "Time": utc(alert.time),
        "Defined by": alert.source,
        "Key": alert.key,
        "Signals": str(alert.count),
    }
    head = "\n".join(f"{name}: {plain(value)}" for name, value in told.items() if value)
    trace = "\n".join(map(plain, alert.traceback.splitlines()))
    return f"{plain(alert.message)}\n\n{head}\n" + (f"\n{trace}\n" if trace else "")


def utc(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as ISO 8601 writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
