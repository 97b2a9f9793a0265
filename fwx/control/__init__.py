"""The control socket: how commands reach a service that runs.

A Unix socket in the state folder, for the service's account and root. A client sends one line, a JSON object whose
``command`` says what is wanted; the service answers with one line, a JSON object with ``done`` or ``failed``. After the
``done`` of some commands more lines follow, until the client ends its direction.
"""

SOCKET = "control"
"""The socket's name in the state folder."""

LONGEST_LINE = 65536
"""Bytes of a request, and of an answer."""


class ControlError(Exception):
    """What was asked for has not been done; the words say why, for the person who asked."""
