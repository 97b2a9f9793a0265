"""The names of types, classes and operations (the IANA registries of DNS parameters)."""

from __future__ import annotations

import re

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "RP": 17,
    "AFSDB": 18, "SIG": 24, "KEY": 25, "AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "CERT": 37, "DNAME": 39,
    "DS": 43, "SSHFP": 44, "IPSECKEY": 45, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "NSEC3": 50, "NSEC3PARAM": 51,
    "TLSA": 52, "SMIMEA": 53, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64,
    "HTTPS": 65, "SPF": 99, "TKEY": 249, "TSIG": 250, "IXFR": 251, "AXFR": 252, "MAILB": 253, "MAILA": 254, "ANY": 255,
    "URI": 256, "CAA": 257,
}  # fmt: skip
CLASSES = {"IN": 1, "CH": 3, "HS": 4, "ANY": 255}
OPCODES = {"QUERY": 0, "IQUERY": 1, "STATUS": 2, "NOTIFY": 4, "UPDATE": 5, "DSO": 6}

_NUMBERED = re.compile(r"TYPE(\d{1,5})")
_NAME_OF = {number: name for name, number in TYPES.items()}


def type_number(name: str) -> int:
    """Return the number of the type *name*, such as ``AAAA`` or ``TYPE65280``. :raises ValueError: there is none."""
    name = name.upper()
    numbered = _NUMBERED.fullmatch(name)
    if numbered is not None and int(numbered[1]) < 65536:
        return int(numbered[1])
    if name not in TYPES:
        raise ValueError("expected a type of records, such as AAAA or TYPE65280")
    return TYPES[name]


def type_name(number: int) -> str:
    return _NAME_OF.get(number, f"TYPE{number}")
