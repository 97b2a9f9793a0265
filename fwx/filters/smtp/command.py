"""The commands of SMTP, by the letter of RFC 5321, 4.1, and of the extensions that the filter knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

VERBS = frozenset(
    {"HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "AUTH", "STARTTLS", "ETRN"}
)
"""What the filter understands; nothing else passes."""
MOST_IN_LINE = 512
"""Bytes of a command line, CRLF included (RFC 5321, 4.5.3.1.4)."""
MOST_IN_AUTH = 12288
"""Bytes of a line of an authentication (RFC 4954, 4)."""
# MAIL: SIZE 26 (RFC 1870), BODY 17 (6152), DSN 100 (3461), AUTH 500 (4954), SMTPUTF8 10 (6531). RCPT: DSN 500.
_MOST = {b"MAIL": MOST_IN_LINE + 653, b"RCPT": MOST_IN_LINE + 500, b"AUTH": MOST_IN_AUTH}

_VERB = re.compile(rb"[A-Za-z]{4,8}")
_ATEXT = rb"-A-Za-z0-9!#$%&'*+/=?^_`{|}~"
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ULABEL = rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?"
_LITERAL = rb"\[[!-Z^-~]{1,64}\]"


def _path(atext: bytes, label: bytes, quoted: bytes) -> re.Pattern[bytes]:
    atom = rb"[" + atext + rb"]+"
    local = atom + rb"(?:\." + atom + rb')*|"(?:' + quoted + rb')*"'
    domain = label + rb"(?:\." + label + rb")*"
    route = rb"(?:@" + domain + rb"(?:,@" + domain + rb")*:)?"
    return re.compile(rb"<" + route + rb"(?P<local>" + local + rb")@(?P<domain>" + domain + rb"|" + _LITERAL + rb")>")


_PATH = _path(_ATEXT, _LABEL, rb"[ !#-\[\]-~]|\\[ -~]")
_UTF8_PATH = _path(_ATEXT + rb"\x80-\xff", _ULABEL, rb"[ !#-\[\]-~\x80-\xff]|\\[ -~]")
_HOST = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|" + _LITERAL)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?")
_MECHANISM = re.compile(rb"[A-Z0-9_-]{1,20}", re.IGNORECASE)
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TEXT = re.compile(rb"[\t -~\x80-\xff]*")

_KNOWN = {
    "MAIL": {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "AUTH": "AUTH"},
    "RCPT": {"NOTIFY": "DSN", "ORCPT": "DSN"},
}
"""Parameter -> the extension that it belongs to."""


class CommandError(ValueError):
    """A command that is not one: ``reply`` is what the client is told."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__(reply)


@dataclass(slots=True)
class Command:
    """One command. ``argument`` is all behind the verb; ``parameters`` are those of MAIL and RCPT, in capitals."""

    verb: str
    argument: bytes = b""
    parameters: dict[str, bytes] = field(default_factory=dict)


def limit_of(line: bytes) -> int:
    """Return how long the command line that begins with *line* may be, CRLF included."""
    return _MOST.get(line[:4].upper(), MOST_IN_LINE)


def parse(line: bytes, offered: frozenset[str]) -> Command:
    """Take a command line apart. *offered* are the extensions that the client has been told of.

    :raises CommandError: no command, or one with a wrong argument.
    """
    word, _, argument = line.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    if not _VERB.fullmatch(word) or verb not in VERBS:
        raise CommandError("500 5.5.2 Command unrecognized")
    command = Command(verb, argument)
    if not _TEXT.fullmatch(argument):
        raise CommandError("501 5.5.4 Control characters in the argument")
    _CHECKS[verb](command, offered)
    return command


def is_base64(line: bytes) -> bool:
    """Tell whether *line* is a line of an authentication: base64, or ``*`` to give up."""
    return line == b"*" or _BASE64.fullmatch(line) is not None


def _nothing(command: Command, _offered: frozenset[str]) -> None:
    if command.argument.strip(b" "):
        raise CommandError(f"501 5.5.4 {command.verb} takes no argument")


def _anything(command: Command, _offered: frozenset[str]) -> None:
    """A text, of which the server makes what it will."""


def _something(command: Command, _offered: frozenset[str]) -> None:
    if not command.argument.strip(b" "):
        raise CommandError(f"501 5.5.4 {command.verb} needs an argument")


def _greeting(command: Command, _offered: frozenset[str]) -> None:
    if not _HOST.fullmatch(command.argument.rstrip(b" ")) or len(command.argument) > 255:
        raise CommandError(f"501 5.5.4 {command.verb} needs a domain or an address literal")


def _auth(command: Command, offered: frozenset[str]) -> None:
    mechanism, _, initial = command.argument.partition(b" ")
    if "AUTH" not in offered:
        raise CommandError("502 5.5.1 AUTH is not offered")
    if not _MECHANISM.fullmatch(mechanism) or not (initial == b"=" or _BASE64.fullmatch(initial)):
        raise CommandError("501 5.5.4 AUTH needs a mechanism and base64")


def _mail(command: Command, offered: frozenset[str]) -> None:
    _take_path(command, b"FROM:", offered)
    size = command.parameters.get("SIZE")
    if size is not None and not (size.isdigit() and len(size) <= 20):
        raise CommandError("501 5.5.4 SIZE needs a number")
    if command.parameters.get("BODY", b"7BIT").upper() not in (b"7BIT", b"8BITMIME"):
        raise CommandError("501 5.5.4 BODY is 7BIT or 8BITMIME")


def _rcpt(command: Command, offered: frozenset[str]) -> None:
    _take_path(command, b"TO:", offered)


_CHECKS = {
    "HELO": _greeting,
    "EHLO": _greeting,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _nothing,
    "RSET": _nothing,
    "NOOP": _anything,
    "QUIT": _nothing,
    "VRFY": _something,
    "EXPN": _something,
    "HELP": _anything,
    "AUTH": _auth,
    "STARTTLS": _nothing,
    "ETRN": _something,
}


def _take_path(command: Command, keyword: bytes, offered: frozenset[str]) -> None:
    argument = command.argument
    if argument[: len(keyword)].upper() != keyword:
        raise CommandError(f"501 5.5.4 {command.verb} needs {keyword.decode()}<address>")
    path, rest = _cut(argument[len(keyword) :])
    for word in filter(None, rest.split(b" ")):
        found = _PARAMETER.fullmatch(word)
        if found is None:
            raise CommandError(f"501 5.5.4 Syntax error in the parameters of {command.verb}")
        name, value = found[1].decode().upper(), found[2] or b""
        if _KNOWN[command.verb].get(name, "") not in offered:
            raise CommandError(f"555 5.5.4 Parameter {name[:40]} is not known here")
        if name in command.parameters:
            raise CommandError(f"501 5.5.4 Parameter {name} twice")
        command.parameters[name] = value
    _check_path(command, path, "SMTPUTF8" in offered)


def _cut(text: bytes) -> tuple[bytes, bytes]:
    """Part a path from what follows it: a blank behind ``>`` ends it, but not inside quotes."""
    quoted = escaped = False
    for place, letter in enumerate(text):
        if escaped:
            escaped = False
        elif letter == 0x5C and quoted:
            escaped = True
        elif letter == 0x22:
            quoted = not quoted
        elif letter == 0x3E and not quoted:
            if text[place + 1 : place + 2] not in (b"", b" "):
                break
            return text[: place + 1], text[place + 1 :]
    raise CommandError("501 5.1.7 Bad address: expected <address>")


def _check_path(command: Command, path: bytes, takes_utf8: bool) -> None:
    if (command.verb == "MAIL" and path == b"<>") or (command.verb == "RCPT" and path.lower() == b"<postmaster>"):
        return
    found = (_UTF8_PATH if takes_utf8 else _PATH).fullmatch(path)
    status = "5.1.7" if command.verb == "MAIL" else "5.1.3"
    if found is None:
        raise CommandError(f"501 {status} Bad address syntax")
    # RFC 5321, 4.5.3.1.1 to 4.5.3.1.3.
    if len(found["local"]) > 64 or len(found["domain"]) > 255 or len(path) > 256:
        raise CommandError(f"501 {status} Address too long")
