"""Windows numbers for errors of files: each with its name, and what has none."""

from __future__ import annotations

import errno
import os

import pytest

from fwx.impl.fileerror import file_error
from fwx.impl.winsock import winsock_name


@pytest.mark.parametrize(
    ("name", "number", "windows"),
    [
        ("ENOSPC", 112, "ERROR_DISK_FULL"),
        ("EDQUOT", 1295, "ERROR_DISK_QUOTA_EXCEEDED"),
        ("EFBIG", 223, "ERROR_FILE_TOO_LARGE"),
        ("EBADF", 5, "ERROR_ACCESS_DENIED"),
        ("EACCES", 5, "ERROR_ACCESS_DENIED"),
        ("EPERM", 5, "ERROR_ACCESS_DENIED"),
        ("EROFS", 19, "ERROR_WRITE_PROTECT"),
        ("EPIPE", 109, "ERROR_BROKEN_PIPE"),
        ("EINVAL", 87, "ERROR_INVALID_PARAMETER"),
        ("EISDIR", 1, "ERROR_INVALID_FUNCTION"),
        ("ESPIPE", 1, "ERROR_INVALID_FUNCTION"),
        ("EMFILE", 4, "ERROR_TOO_MANY_OPEN_FILES"),
        ("ENFILE", 4, "ERROR_TOO_MANY_OPEN_FILES"),
        ("ENOMEM", 8, "ERROR_NOT_ENOUGH_MEMORY"),
        ("EOPNOTSUPP", 50, "ERROR_NOT_SUPPORTED"),
        ("ENODEV", 55, "ERROR_DEV_NOT_EXIST"),
        ("ENXIO", 55, "ERROR_DEV_NOT_EXIST"),
        ("EBUSY", 170, "ERROR_BUSY"),
        ("ETXTBSY", 170, "ERROR_BUSY"),
        ("EFAULT", 998, "ERROR_NOACCESS"),
        ("EIO", 1117, "ERROR_IO_DEVICE"),
        # A socket keeps the numbers of Winsock.
        ("ECONNRESET", 10054, "WSAECONNRESET"),
        ("ETIMEDOUT", 10060, "WSAETIMEDOUT"),
        # Nothing in Windows is like these.
        ("ESTALE", 31, "ERROR_GEN_FAILURE"),
        ("EUCLEAN", 31, "ERROR_GEN_FAILURE"),
    ],
)
def test_the_number_of_an_error(name: str, number: int, windows: str) -> None:
    code = getattr(errno, name)
    assert file_error(OSError(code, os.strerror(code))) == number
    assert winsock_name(number) == windows


def test_an_error_without_a_number() -> None:
    assert file_error(OSError("no number")) == 31
    assert file_error(TimeoutError("no number")) == 10060
