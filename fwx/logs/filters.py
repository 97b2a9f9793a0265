"""What ``fwx log`` is asked to show: the conditions that its options stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from fwx.logs.actions import actions_of, results_of
from fwx.logs.reader import AnyOf, Operator, equals

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_NO_NAME = re.compile(r"[\s/:\[\]]")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ADDRESSES = ("SourceIP", "DestinationIP", "OriginalClientIP", "NATAddress")


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
    """Return the conditions that *column* is not before *since*, and before *until*; see :func:`parse_time`.

    :raises ValueError: no time is both.
    """
    if since is not None and until is not None and since >= until:
        raise ValueError(f"no record is from {since} on and before {until}")
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
    :raises ValueError: there is no such result or action, or what stands for an address is none.
    """
    found = []
    if users:
        found.append(equals("ClientUserName", *users))
    if rules:
        found.append(equals("rule", *rules))
    if addresses:
        found.append(AnyOf(tuple(test for address in addresses for test in _of_address(address))))
    if results:
        found.append(equals("resultcode", *(code for text in results for code in results_of(text))))
    if actions:
        found.append(equals("Action", *map(actions_of, actions)))
    return found


def _of_address(text: str) -> Iterator[tuple[str, Operator, str]]:
    """Yield the tests of which a record of the address or name *text* meets one. :raises ValueError: it is neither."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = str(ip_address(bare))
    except ValueError:
        if not text or _NO_NAME.search(text):
            expected = "expected an address such as 10.1.0.17 or a name, without a port or a prefix"
            raise ValueError(f"{text!r} is no address and no name; {expected}") from None
        yield "DestinationName", "~", text.lower()
        return
    for column in _ADDRESSES:
        yield column, "=", address
    yield "DestinationName", "~", address
