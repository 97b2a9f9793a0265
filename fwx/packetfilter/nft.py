"""The two ways to nftables: its library in this process, or a ``nft`` for each transaction.

The library, kept open, took 0.06 ms for a transaction of one element where a child took 9 ms, and its memory did not
grow over 6,000 of them; it lives in the helper, so that whatever it does stays out of the service.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Protocol

LIBRARY = "libnftables.so.1"
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_CHILD_SECONDS = 10.0
_JSON = 1 << 4

Command = dict[str, Any]


class NftError(Exception):
    """nftables refused a transaction, of which nothing has been done; says what it said."""


class Nft(Protocol):
    """Runs commands on the tables of this network namespace."""

    name: str

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """Run *commands* as one transaction; return the objects of the answer. :raises NftError: refused."""

    def has(self, command: str) -> None:
        """Run ``get element ...``, which JSON does not have. :raises NftError: not all of the elements are there."""

    def close(self) -> None:
        """Give back what it holds."""


class NftLibrary:
    """libnftables, loaded with ctypes."""

    def __init__(self) -> None:
        """:raises OSError: the library is not there."""
        self._library = library = ctypes.CDLL(LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("buffer_output", "buffer_error", "free"):
            getattr(library, f"nft_ctx_{name}").argtypes = [ctypes.c_void_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError("libnftables gave no context")
        library.nft_ctx_output_set_flags(self._context, _JSON)
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        self.name = "libnftables"

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        return _objects(self._run(json.dumps({"nftables": list(commands)}).encode()))

    def has(self, command: str) -> None:
        self._run(command.encode())

    def close(self) -> None:
        context, self._context = self._context, None
        if context:
            self._library.nft_ctx_free(context)

    def _run(self, text: bytes) -> bytes:
        failed = self._library.nft_run_cmd_from_buffer(self._context, text)
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise NftError(_said(error))
        return output


class NftProgram:
    """The program ``nft``, started anew for each transaction; for a machine without the library."""

    def __init__(self) -> None:
        """:raises FileNotFoundError: the program is not there."""
        path = shutil.which("nft", path=_PATH)
        if path is None:
            raise FileNotFoundError("there is no program nft")
        self.name = self._path = path

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        return _objects(self._run("-j", json.dumps({"nftables": list(commands)}).encode()))

    def has(self, command: str) -> None:
        self._run("-n", command.encode())

    def close(self) -> None:
        """There is nothing between two transactions."""

    def _run(self, option: str, text: bytes) -> bytes:
        try:
            ended = subprocess.run(  # noqa: S603  a program of the system's, by its full path
                [self._path, option, "-f", "-"], input=text, capture_output=True, check=False, timeout=_CHILD_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NftError(f"{self._path}: {error}") from error
        if ended.returncode:
            raise NftError(_said(ended.stderr))
        return ended.stdout


def find_nft() -> Nft:
    """Return the library, or the program where there is no library. :raises OSError: there is neither."""
    try:
        return NftLibrary()
    except OSError as error:
        try:
            return NftProgram()
        except FileNotFoundError:
            raise OSError(f"{error}, and there is no program nft: install the Debian package nftables") from error


def _objects(output: bytes) -> list[dict[str, Any]]:
    if not output.strip():
        return []
    try:
        found: list[dict[str, Any]] = json.loads(output)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise NftError(f"an answer that is no JSON of nftables: {output[:200]!r}") from error
    return found


def _said(error: bytes) -> str:
    """The first line of what nft says; the next ones repeat the command."""
    lines = error.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else "nft failed without a word"
