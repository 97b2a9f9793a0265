"""What the kernel and the resolver report, as Winsock numbers."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from fwx.impl.winsock import _ERRNO, winsock_code, winsock_name

ERRNO = [
    ("EINTR", 10004, "WSAEINTR"),
    ("EBADF", 10038, "WSAENOTSOCK"),
    ("EPERM", 10013, "WSAEACCES"),
    ("EACCES", 10013, "WSAEACCES"),
    ("EFAULT", 10014, "WSAEFAULT"),
    ("EINVAL", 10022, "WSAEINVAL"),
    ("EMFILE", 10024, "WSAEMFILE"),
    ("ENFILE", 10024, "WSAEMFILE"),
    ("EAGAIN", 10035, "WSAEWOULDBLOCK"),
    ("EINPROGRESS", 10035, "WSAEWOULDBLOCK"),
    ("EALREADY", 10037, "WSAEALREADY"),
    ("ENOTSOCK", 10038, "WSAENOTSOCK"),
    ("EDESTADDRREQ", 10039, "WSAEDESTADDRREQ"),
    ("EMSGSIZE", 10040, "WSAEMSGSIZE"),
    ("EPROTOTYPE", 10041, "WSAEPROTOTYPE"),
    ("ENOPROTOOPT", 10042, "WSAENOPROTOOPT"),
    ("EPROTONOSUPPORT", 10043, "WSAEPROTONOSUPPORT"),
    ("ESOCKTNOSUPPORT", 10044, "WSAESOCKTNOSUPPORT"),
    ("EOPNOTSUPP", 10045, "WSAEOPNOTSUPP"),
    ("EPFNOSUPPORT", 10047, "WSAEAFNOSUPPORT"),
    ("EAFNOSUPPORT", 10047, "WSAEAFNOSUPPORT"),
    ("EADDRINUSE", 10048, "WSAEADDRINUSE"),
    ("EADDRNOTAVAIL", 10049, "WSAEADDRNOTAVAIL"),
    ("ENETDOWN", 10050, "WSAENETDOWN"),
    ("ENETUNREACH", 10051, "WSAENETUNREACH"),
    ("ENETRESET", 10052, "WSAENETRESET"),
    ("ECONNABORTED", 10053, "WSAECONNABORTED"),
    ("EPROTO", 10053, "WSAECONNABORTED"),
    ("ECONNRESET", 10054, "WSAECONNRESET"),
    ("EPIPE", 10054, "WSAECONNRESET"),
    ("ENOBUFS", 10055, "WSAENOBUFS"),
    ("ENOMEM", 10055, "WSAENOBUFS"),
    ("EISCONN", 10056, "WSAEISCONN"),
    ("ENOTCONN", 10057, "WSAENOTCONN"),
    ("ESHUTDOWN", 10058, "WSAESHUTDOWN"),
    ("ETIMEDOUT", 10060, "WSAETIMEDOUT"),
    ("ECONNREFUSED", 10061, "WSAECONNREFUSED"),
    ("ENAMETOOLONG", 10063, "WSAENAMETOOLONG"),
    ("EHOSTDOWN", 10064, "WSAEHOSTDOWN"),
    ("EHOSTUNREACH", 10065, "WSAEHOSTUNREACH"),
    ("ECANCELED", 995, "ERROR_OPERATION_ABORTED"),
    ("EXDEV", 10107, "WSASYSCALLFAILURE"),
]


@pytest.mark.parametrize(("name", "code", "winsock"), ERRNO)
def test_errno(name: str, code: int, winsock: str) -> None:
    number = getattr(errno, name)
    assert winsock_code(OSError(number, os.strerror(number))) == code
    assert winsock_name(code) == winsock


def test_every_number_of_the_table_is_tried() -> None:
    """Issue 4: errno becomes a Winsock number in one table; a new entry needs its line above."""
    assert {getattr(errno, name) for name, code, _ in ERRNO if code != 10107} == set(_ERRNO)


@pytest.mark.parametrize(
    ("exc", "winsock"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "WSAHOST_NOT_FOUND"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "WSATRY_AGAIN"),
        (socket.gaierror(socket.EAI_NODATA, "no address"), "WSANO_DATA"),
        (socket.gaierror(socket.EAI_ADDRFAMILY, "no address of the family"), "WSANO_DATA"),
        (socket.gaierror(socket.EAI_FAIL, "for good"), "WSANO_RECOVERY"),
        (socket.gaierror(socket.EAI_MEMORY, "memory"), "WSAENOBUFS"),
        (socket.gaierror(socket.EAI_FAMILY, "family"), "WSAEAFNOSUPPORT"),
        (socket.gaierror(socket.EAI_SOCKTYPE, "type"), "WSAESOCKTNOSUPPORT"),
        (socket.gaierror(socket.EAI_BADFLAGS, "flags"), "WSAEINVAL"),
        (socket.gaierror(socket.EAI_SYSTEM, "other"), "WSANO_RECOVERY"),
        (socket.gaierror("without a number"), "WSANO_RECOVERY"),
        (socket.herror(1, "unknown"), "WSAHOST_NOT_FOUND"),
        (socket.herror(2, "later"), "WSATRY_AGAIN"),
        (socket.herror(3, "for good"), "WSANO_RECOVERY"),
        (socket.herror(4, "no address"), "WSANO_DATA"),
        (ssl.SSLError(1, "errno 1 is EPERM elsewhere"), "WSAECONNABORTED"),
        (TimeoutError(), "WSAETIMEDOUT"),
        (ConnectionRefusedError(), "WSAECONNREFUSED"),
        (ConnectionAbortedError(), "WSAECONNABORTED"),
        (ConnectionResetError(), "WSAECONNRESET"),
        (BrokenPipeError(), "WSAECONNRESET"),
        (BlockingIOError(), "WSAEWOULDBLOCK"),
        (PermissionError(), "WSAEACCES"),
        (OSError("only words"), "WSASYSCALLFAILURE"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_exception(exc: OSError, winsock: str) -> None:
    assert winsock_name(winsock_code(exc)) == winsock


@pytest.mark.parametrize(("code", "name"), [(0, "ERROR_SUCCESS"), (64, "ERROR_NETNAME_DELETED"), (4711, "WIN32(4711)")])
def test_name(code: int, name: str) -> None:
    assert winsock_name(code) == name


def test_refused_connection_of_the_kernel() -> None:
    with socket.socket() as closed, socket.socket() as client:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused") as failure:
            client.connect(closed.getsockname())
    assert winsock_name(winsock_code(failure.value)) == "WSAECONNREFUSED"
