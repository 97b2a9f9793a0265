"""The machine's hosts file: names that need no name service."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fwx.impl.engine import Question
from fwx.interfaces import Hostent
from fwx.interfaces.address import parse_ip

logger = logging.getLogger("fwx.hosts_file")

HOSTS_FILE: Final = Path("/etc/hosts")
LARGEST: Final = 1 << 20
"""Bytes of a file that is read; a larger one is left to the resolver's threads."""

_CHECK_SECONDS: Final = 1.0

Hosts = MappingProxyType[Question, Hostent]
_NOTHING: Final[Hosts] = MappingProxyType({})
# Modification time, size, inode: what tells two states of the file apart. None: there is no file.
_State = tuple[int, int, int] | None


class HostsFile:
    """What stands in the hosts file, by name in lower case and by address.

    :meth:`find` and :meth:`has_changed` cost a dictionary look-up, and a ``stat`` each second; :meth:`read` does the
    work, on whatever thread.
    """

    def __init__(self, clock: Callable[[], float], path: Path = HOSTS_FILE) -> None:
        """Read *path* now; *clock* gives seconds that only grow."""
        self._clock = clock
        self._path = path
        self._state = self._look()
        self._due = clock() + _CHECK_SECONDS
        self._hosts = self.read()

    def find(self, question: Question) -> Hostent | None:
        return self._hosts.get(question.lower() if isinstance(question, str) else question)

    def has_changed(self) -> bool:
        """Tell, once, that the file is another one; nothing is found until :meth:`replace`."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + _CHECK_SECONDS
        state = self._look()
        if state == self._state:
            return False
        self._state, self._hosts = state, _NOTHING
        return True

    def read(self) -> Hosts:
        """Read the file; an unreadable one, or one that is too large, holds nothing."""
        try:
            with self._path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                logger.warning("%s cannot be read, the name service is asked for its names: %s", self._path, error)
            return _NOTHING
        if len(data) > LARGEST:
            logger.warning("%s has more than %d bytes, the name service is asked for its names", self._path, LARGEST)
            return _NOTHING
        return parse(data.decode(errors="replace"))

    def replace(self, hosts: Hosts) -> None:
        """Answer from *hosts* from now on."""
        self._hosts = hosts

    def _look(self) -> _State:
        try:
            status = os.stat(self._path)  # noqa: PTH116  the same, without an object for each second
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def parse(text: str) -> Hosts:
    """Return the hosts of *text*; a line that is none is left out.

    The first name of the first line for a name, or an address, is the official one. The addresses of all lines count.
    """
    hosts: dict[Question, Hostent] = {}
    for host in _lines(text):
        names, address = (host.name, *host.aliases), host.addresses[0]
        for name in names:
            hosts[name.lower()] = _merge(hosts.get(name.lower()), host)
        hosts[address] = _merge(hosts.get(address), host)
    return MappingProxyType(hosts)


def _lines(text: str) -> Iterator[Hostent]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            yield Hostent(words[1], tuple(dict.fromkeys(words[2:])), (parse_ip(words[0]),))
        except (IndexError, ValueError):
            continue


def _merge(known: Hostent | None, host: Hostent) -> Hostent:
    if known is None:
        return host
    aliases = dict.fromkeys((*known.aliases, host.name, *host.aliases))
    aliases.pop(known.name, None)
    return Hostent(known.name, tuple(aliases), tuple(dict.fromkeys((*known.addresses, *host.addresses))))
