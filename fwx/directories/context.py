"""What an authenticator of a ``[[directory]]`` table gets from the service, and how it names its users."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fwx.directories import SEPARATOR
from fwx.impl.user import AUTHENTICATED, FWXAuthenticatedUser, Who, group_key, user_key


class DirectoryContext(NamedTuple):
    """What the service hands an authenticator when it makes it, on the loop thread.

    :ivar name: the directory's, of the configuration. :ivar seconds: how long a check may take before it is given up.
    :ivar post: calls a function on the loop thread, later, from any thread.
    :ivar submit: calls a function on a thread of the directory's own pool; it raises ``COMError``.
    :ivar call_later: calls a function after seconds, on the loop thread; what it returns has ``cancel``.
    :ivar warn: tells the operator of a server that fails, from any thread: an alert for its name and words.
    :ivar local_names: users of the configuration.
    """

    name: str
    seconds: float
    post: Callable[..., None]
    submit: Callable[[Callable[[], object]], None]
    call_later: Callable[[float, Callable[[], None]], Any]
    warn: Callable[[str, str], object]
    local_names: frozenset[str] = frozenset()

    def share(self, parts: int) -> float:
        """Return the seconds of one of *parts* that a check consists of.

        All of them end a little before the check does, so that it can still be said which one has failed.
        """
        return 0.9 * self.seconds / parts

    def user(self, name: str, groups: Iterable[str], namespace: str) -> FWXAuthenticatedUser:
        """Return the user *name* of this directory, who is called ``directory\\name``.

        Rules know it by that name and, unless a user of the configuration has it, by its own; its groups by both. A
        name or a group with a backslash in it is known in full alone: it could be that of another directory.
        """
        known, full = tuple(dict.fromkeys(groups)), f"{self.name}{SEPARATOR}{name}"
        who = {AUTHENTICATED, user_key(full), *(group_key(f"{self.name}{SEPARATOR}{group}") for group in known)}
        who |= {group_key(group) for group in known if SEPARATOR not in group}
        if name not in self.local_names and SEPARATOR not in name:
            who.add(user_key(name))
        return FWXAuthenticatedUser(full, known, namespace, Who(who))
