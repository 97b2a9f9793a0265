"""What ``fwx log`` is asked to show: the conditions that its options stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fwx.logs.actions import actions_of, results_of
from fwx.logs.reader import AnyOf, equals

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ADDRESSES = ("SourceIP", "DestinationIP", "OriginalClientIP", "NATAddress", "DestinationName")


def parse_time(text: str, now: datetime) -> str:
    """Return the UTC time that *text* means, as the log writes it.

    :param text: an ISO time, local unless it says otherwise, such as ``2026-01-02 03:04`` or ``2026-01-02``; or an age,
        such as ``30s``, ``15m``, ``2h`` or ``3d``. :param now: what ages are counted from.
    :raises ValueError: it is neither.
    """
    age = _AGE.fullmatch(text.strip())
    try:
        when = now - timedelta(**{_UNITS[age[2]]: float(age[1])}) if age else datetime.fromisoformat(text.strip())
        utc = when.astimezone(UTC)
    except (ValueError, OverflowError):
        expected = "expected a time such as 2026-01-02 03:04, or an age such as 15m, 2h or 3d"
        raise ValueError(f"{text!r} is no time; {expected}") from None
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03}Z"


def between(column: str, since: str | None, until: str | None) -> list[AnyOf]:
    """Return the conditions that *column* is not before *since*, and before *until*; see :func:`parse_time`."""
    found = []
    if since is not None:
        found.append(AnyOf(((column, ">=", since),)))
    if until is not None:
        found.append(AnyOf(((column, "<", until),)))
    return found


def conditions(
    *,
    users: Sequence[str] = (),
    rules: Sequence[str] = (),
    addresses: Sequence[str] = (),
    results: Sequence[str] = (),
    actions: Sequence[str] = (),
) -> list[AnyOf]:
    """Return what records must meet: each option that is given, in one of its values.

    :param addresses: an address or a name that is the client's, the target's, or the firewall's towards it.
    :param results: names or numbers. :param actions: names, in any case, or numbers.
    :raises ValueError: there is no such result or action.
    """
    found = []
    if users:
        found.append(equals("ClientUserName", *users))
    if rules:
        found.append(equals("rule", *rules))
    if addresses:
        found.append(AnyOf(tuple((column, "=", address) for address in addresses for column in _ADDRESSES)))
    if results:
        found.append(equals("resultcode", *(code for text in results for code in results_of(text))))
    if actions:
        found.append(equals("Action", *map(actions_of, actions)))
    return found
