"""Windows numbers for what the kernel reports of files and pipes; completions of overlapped operations carry them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fwx.impl.winsock import WSASYSCALLFAILURE, winsock_code
from fwx.interfaces import hresult as codes

_ERRNO: Final[Mapping[int, int]] = MappingProxyType(
    {
        errno.EISDIR: codes.ERROR_INVALID_FUNCTION,
        errno.ESPIPE: codes.ERROR_INVALID_FUNCTION,
        errno.EMFILE: codes.ERROR_TOO_MANY_OPEN_FILES,
        errno.ENFILE: codes.ERROR_TOO_MANY_OPEN_FILES,
        # Of an open descriptor, what it says is that it was opened for the other direction.
        errno.EBADF: codes.ERROR_ACCESS_DENIED,
        errno.EACCES: codes.ERROR_ACCESS_DENIED,
        errno.EPERM: codes.ERROR_ACCESS_DENIED,
        errno.ENOMEM: codes.ERROR_NOT_ENOUGH_MEMORY,
        errno.EROFS: codes.ERROR_WRITE_PROTECT,
        errno.EOPNOTSUPP: codes.ERROR_NOT_SUPPORTED,
        errno.ENODEV: codes.ERROR_DEV_NOT_EXIST,
        errno.ENXIO: codes.ERROR_DEV_NOT_EXIST,
        errno.EINVAL: codes.ERROR_INVALID_PARAMETER,
        errno.EPIPE: codes.ERROR_BROKEN_PIPE,
        errno.ENOSPC: codes.ERROR_DISK_FULL,
        errno.EBUSY: codes.ERROR_BUSY,
        errno.ETXTBSY: codes.ERROR_BUSY,
        errno.EFBIG: codes.ERROR_FILE_TOO_LARGE,
        errno.EFAULT: codes.ERROR_NOACCESS,
        errno.EIO: codes.ERROR_IO_DEVICE,
        errno.EDQUOT: codes.ERROR_DISK_QUOTA_EXCEEDED,
    }
)


def file_error(exc: OSError) -> int:
    """Return the Windows number for *exc*, which a call on an open descriptor raised.

    What files do not know is a socket's, by :func:`fwx.impl.winsock.winsock_code`; what has no counterpart at all gives
    ``ERROR_GEN_FAILURE``.
    """
    code = _ERRNO.get(exc.errno) if exc.errno is not None else None
    if code is None:
        code = winsock_code(exc)
    return codes.ERROR_GEN_FAILURE if code == WSASYSCALLFAILURE else code
