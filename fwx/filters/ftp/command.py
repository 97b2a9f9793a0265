"""The commands of FTP, and those of them that name a data port (RFC 959, 5.3; RFC 2428)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from fwx import sdk

_RFC_959 = """
    USER PASS ACCT CWD CDUP SMNT REIN QUIT PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR RNTO ABOR DELE
    RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP XCUP XCWD XMKD XPWD XRMD
"""
# RFC 2228, 2389, 2428, 2640, 3659, 7151, and drafts that clients and servers in use have.
_LATER = """
    AUTH FEAT OPTS EPRT EPSV LANG MDTM SIZE MLST MLSD HOST CLNT MFMT MFCT MFF HASH RANG
    XCRC XMD5 XSHA XSHA1 XSHA256 XSHA512
"""
VERBS = frozenset(_RFC_959.split() + _LATER.split())
"""What the filter understands."""
UNREADABLE = frozenset({"LPRT", "LPSV", "CPSV", "SPSV", "SSCN"})
"""Other ways to agree on a data port, or on one between two servers; never passed on."""
SECURITY = frozenset({"ADAT", "PBSZ", "PROT", "CCC", "MIC", "CONF", "ENC"})
"""What follows ``AUTH`` (RFC 2228); in the clear it means nothing."""
CHANGING = frozenset(
    {
        "STOR", "STOU", "APPE", "DELE", "RMD", "XRMD", "MKD", "XMKD", "RNFR", "RNTO", "ALLO", "SMNT",
        "MFMT", "MFCT", "MFF",
    }
)  # fmt: skip
"""What changes the server's files."""
_HARMLESS_SITE = frozenset({"HELP", "IDLE", "WHO"})
_TIME = re.compile(rb"[0-9]{14}(?:\.[0-9]+)?[ \t]")

_VERB = re.compile(rb"[A-Za-z][A-Za-z0-9]{2,7}")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PORT = re.compile(rb",".join([rb"([0-9]{1,3})"] * 6))
_FAMILIES = {"1": 4, "2": 6}


class CommandError(ValueError):
    """A command that is not one: ``reply`` is what the client is told."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__(reply)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its verb in capitals, and all behind it."""

    verb: str
    argument: bytes = b""

    @property
    def changes_files(self) -> bool:
        """Whether it changes the server's files, or may: of ``SITE`` everything may that is not known not to."""
        if self.verb == "SITE":
            words = self.argument.split()
            return not words or words[0].decode("latin-1").upper() not in _HARMLESS_SITE
        # Some servers set a file's time where MDTM is given one.
        return self.verb in CHANGING or (self.verb == "MDTM" and _TIME.match(self.argument) is not None)


def parse(line: bytes) -> Command:
    """Take a command line apart. :raises CommandError: it is none, or has control characters in it."""
    word, _, argument = line.partition(b" ")
    if not _VERB.fullmatch(word):
        raise CommandError("500 Command not understood")
    if _CONTROL.search(argument):
        raise CommandError("501 Control characters in the argument")
    return Command(word.decode().upper(), argument)


def active_address(command: Command) -> sdk.SocketAddress:
    """Return the address that ``PORT`` or ``EPRT`` names.

    :raises CommandError: it names none, or one of another family than IPv4 and IPv6 (522, RFC 2428, 2).
    """
    argument = command.argument.strip(b" ")
    if command.verb == "PORT":
        found = _PORT.fullmatch(argument)
        numbers = [] if found is None else [int(number) for number in found.groups()]
        if not numbers or max(numbers) > 255 or numbers[4:] == [0, 0]:
            raise CommandError("501 PORT needs h1,h2,h3,h4,p1,p2")
        return sdk.SocketAddress(".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5])
    parts = argument.decode("latin-1").split(chr(argument[0])) if argument else []
    if len(parts) != 5 or parts[0] or parts[4] or not (parts[3].isascii() and parts[3].isdigit()):
        raise CommandError("501 EPRT needs |family|address|port|")
    if parts[1] not in _FAMILIES:
        raise CommandError("522 Network protocol not supported, use (1,2)")
    try:
        address = ip_address(parts[2])
    except ValueError:
        address = None
    port = int(parts[3]) if len(parts[3]) <= 5 else 0
    if address is None or address.version != _FAMILIES[parts[1]] or "%" in parts[2] or not 0 < port < 65536:
        raise CommandError("501 EPRT needs |family|address|port|")
    return sdk.SocketAddress(str(address), port)


def active_command(address: sdk.SocketAddress) -> bytes:
    """Return the line that tells a server of *address*: ``PORT``, or ``EPRT`` for IPv6."""
    if isinstance(address.address, IPv4Address):
        return f"PORT {in_numbers(address)}\r\n".encode()
    return f"EPRT |2|{address.host}|{address.port}|\r\n".encode()


def in_numbers(address: sdk.SocketAddress) -> str:
    """Return an IPv4 address as ``PORT`` and 227 have it."""
    return f"{address.host.replace('.', ',')},{address.port >> 8},{address.port & 255}"
