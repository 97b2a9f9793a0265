"""Winsock numbers for what the kernel and the resolver report; completions and results carry them."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fwx.interfaces import hresult as codes

WSASYSCALLFAILURE: Final = 10107
"""Winsock's own number for a system call that failed for a reason outside its table."""

_ERRNO: Final[Mapping[int, int]] = MappingProxyType(
    {
        errno.EINTR: codes.WSAEINTR,
        errno.EBADF: codes.WSAENOTSOCK,
        errno.EPERM: codes.WSAEACCES,
        errno.EACCES: codes.WSAEACCES,
        errno.EFAULT: codes.WSAEFAULT,
        errno.EINVAL: codes.WSAEINVAL,
        errno.EMFILE: codes.WSAEMFILE,
        errno.ENFILE: codes.WSAEMFILE,
        errno.EAGAIN: codes.WSAEWOULDBLOCK,
        # A connect under way is WSAEWOULDBLOCK in Winsock; its WSAEINPROGRESS belongs to blocking calls of version 1.1.
        errno.EINPROGRESS: codes.WSAEWOULDBLOCK,
        errno.EALREADY: codes.WSAEALREADY,
        errno.ENOTSOCK: codes.WSAENOTSOCK,
        errno.EDESTADDRREQ: codes.WSAEDESTADDRREQ,
        errno.EMSGSIZE: codes.WSAEMSGSIZE,
        errno.EPROTOTYPE: codes.WSAEPROTOTYPE,
        errno.ENOPROTOOPT: codes.WSAENOPROTOOPT,
        errno.EPROTONOSUPPORT: codes.WSAEPROTONOSUPPORT,
        errno.ESOCKTNOSUPPORT: codes.WSAESOCKTNOSUPPORT,
        errno.EOPNOTSUPP: codes.WSAEOPNOTSUPP,
        errno.EPFNOSUPPORT: codes.WSAEAFNOSUPPORT,
        errno.EAFNOSUPPORT: codes.WSAEAFNOSUPPORT,
        errno.EADDRINUSE: codes.WSAEADDRINUSE,
        errno.EADDRNOTAVAIL: codes.WSAEADDRNOTAVAIL,
        errno.ENETDOWN: codes.WSAENETDOWN,
        errno.ENETUNREACH: codes.WSAENETUNREACH,
        errno.ENETRESET: codes.WSAENETRESET,
        errno.ECONNABORTED: codes.WSAECONNABORTED,
        errno.EPROTO: codes.WSAECONNABORTED,
        errno.ECONNRESET: codes.WSAECONNRESET,
        # Linux gives EPIPE after the socket's own shutdown too, but our sockets refuse that send themselves; what is
        # left is a peer whose reset was reported before, and Winsock keeps saying so.
        errno.EPIPE: codes.WSAECONNRESET,
        errno.ENOBUFS: codes.WSAENOBUFS,
        errno.ENOMEM: codes.WSAENOBUFS,
        errno.EISCONN: codes.WSAEISCONN,
        errno.ENOTCONN: codes.WSAENOTCONN,
        errno.ESHUTDOWN: codes.WSAESHUTDOWN,
        errno.ETIMEDOUT: codes.WSAETIMEDOUT,
        errno.ECONNREFUSED: codes.WSAECONNREFUSED,
        errno.ENAMETOOLONG: codes.WSAENAMETOOLONG,
        errno.EHOSTDOWN: codes.WSAEHOSTDOWN,
        errno.EHOSTUNREACH: codes.WSAEHOSTUNREACH,
        errno.ECANCELED: codes.ERROR_OPERATION_ABORTED,
    }
)

_RESOLVER: Final[Mapping[int, int]] = MappingProxyType(
    {
        socket.EAI_NONAME: codes.WSAHOST_NOT_FOUND,
        socket.EAI_AGAIN: codes.WSATRY_AGAIN,
        socket.EAI_NODATA: codes.WSANO_DATA,
        socket.EAI_ADDRFAMILY: codes.WSANO_DATA,
        socket.EAI_FAIL: codes.WSANO_RECOVERY,
        socket.EAI_MEMORY: codes.WSAENOBUFS,
        socket.EAI_FAMILY: codes.WSAEAFNOSUPPORT,
        socket.EAI_SOCKTYPE: codes.WSAESOCKTNOSUPPORT,
        socket.EAI_BADFLAGS: codes.WSAEINVAL,
    }
)

# The numbers of h_errno, which socket.herror carries; the socket module has no names for them.
_HOST_ERRORS: Final[Mapping[int, int]] = MappingProxyType(
    {
        1: codes.WSAHOST_NOT_FOUND,
        2: codes.WSATRY_AGAIN,
        3: codes.WSANO_RECOVERY,
        4: codes.WSANO_DATA,
    }
)

# Exceptions that Python code raises itself, without an errno.
_CLASSES: Final[tuple[tuple[type[OSError], int], ...]] = (
    (TimeoutError, codes.WSAETIMEDOUT),
    (ConnectionRefusedError, codes.WSAECONNREFUSED),
    (ConnectionAbortedError, codes.WSAECONNABORTED),
    (ConnectionError, codes.WSAECONNRESET),
    (BlockingIOError, codes.WSAEWOULDBLOCK),
    (PermissionError, codes.WSAEACCES),
)

_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {value: name for name, value in vars(codes).items() if name.startswith(("WSA", "ERROR_"))}
    | {0: "ERROR_SUCCESS", WSASYSCALLFAILURE: "WSASYSCALLFAILURE"}
)


def winsock_code(exc: OSError) -> int:
    """Return the Winsock or Windows number for *exc*; called wherever a system call or a look-up fails.

    A TLS failure counts as an aborted connection. What has no counterpart gives ``WSASYSCALLFAILURE``, a resolver error
    without one ``WSANO_RECOVERY``.
    """
    match exc:
        case socket.gaierror():
            return _RESOLVER.get(exc.errno or 0, codes.WSANO_RECOVERY)
        case socket.herror():
            return _HOST_ERRORS.get(exc.errno or 0, codes.WSANO_RECOVERY)
        case ssl.SSLError():  # its errno is a number of OpenSSL's
            return codes.WSAECONNABORTED
    if exc.errno is not None:
        return _ERRNO.get(exc.errno, WSASYSCALLFAILURE)
    return next((code for kind, code in _CLASSES if isinstance(exc, kind)), WSASYSCALLFAILURE)


def winsock_name(code: int) -> str:
    """Return the symbolic name of the Winsock or Windows number *code*, ``WIN32(n)`` for one without a name."""
    return _NAMES.get(code) or f"WIN32({code})"
