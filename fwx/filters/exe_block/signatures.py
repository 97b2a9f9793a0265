"""What programs begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

Kind = Literal["dos", "elf", "mach-o", "script"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_KNOWN: Mapping[str, tuple[str, tuple[bytes, ...]]] = MappingProxyType(
    {
        "dos": ("a program for DOS or Windows", (b"MZ", b"ZM")),  # B12.1
        "elf": ("an ELF program", (b"\x7fELF",)),
        # 32 and 64 bits in both byte orders, and those for several machines, whose mark a Java class has too.
        "mach-o": (
            "a Mach-O program or a Java class",
            (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
        ),
        "script": ("a script", (b"#!",)),
    }
)


class Signatures:
    """Knows files by their first bytes.

    :ivar longest: so many bytes of a file are needed for certain.
    """

    def __init__(self, kinds: Iterable[Kind], patterns: Iterable[bytes]) -> None:
        """*patterns* are the first bytes of further files, none of them empty."""
        self._names = {beginning: name for kind in kinds for name, all_of in [_KNOWN[kind]] for beginning in all_of}
        self._names |= {pattern: f"a file that begins with {pattern.hex()}" for pattern in patterns}
        self.longest = max(map(len, self._names), default=0)

    def match(self, head: bytes) -> str:
        """Return what a file is that begins with *head*, in words; nothing where it is none of these, or not yet."""
        return next((name for beginning, name in self._names.items() if head.startswith(beginning)), "")


class Head:
    """The beginning of one file, which comes in pieces."""

    __slots__ = ("_data", "_signatures")

    def __init__(self, signatures: Signatures) -> None:
        self._data = b""
        self._signatures = signatures

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is needed to know the file."""
        return len(self._data) >= self._signatures.longest

    def feed(self, data: memoryview) -> str:
        """Take the next piece; return in words what the file is, as soon as that is certain."""
        if self.is_whole:
            return ""
        self._data += data[: self._signatures.longest - len(self._data)]
        return self._signatures.match(self._data)
