"""How a filter is tried: a TOML file with what the two sides say, what clients ask for, and the filter's options."""

from __future__ import annotations

import importlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fwx.interfaces import SocketAddress
from fwx.testing.datafilters import Dialogue
from fwx.testing.sockets import SERVER

FILE_NAME = "conform.toml"
"""What a filter's package calls its script."""


class ScriptError(ValueError):
    """A script that cannot be used; says the file, the key and what was expected."""


def address_of(text: str) -> SocketAddress:
    """Return what a client asks for, written ``host:port``. :raises ValueError: it is not, or the host is a name."""
    address = SocketAddress.parse(text)
    if address.address is None:
        raise ValueError(f"{text}: expected a literal address, such as {SERVER}")
    return address


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Line(_Form):
    """What is said before anything is looked at."""

    side: Literal["client", "server"]
    data: str


class Script(_Form):
    """One file. ``docs/testing-a-filter.rst`` explains the keys; bytes are written as text of ISO 8859-1."""

    opening: list[Line] = []
    to_server: str = ""
    to_client: str = ""
    elsewhere: str = ""
    times: int = Field(default=1, ge=1)
    target: str = str(SERVER)
    changes_data: bool = False
    options: dict[str, Any] = {}

    @field_validator("target")
    @classmethod
    def _is_an_address(cls, target: str) -> str:
        address_of(target)
        return target

    def dialogue(self) -> Dialogue:
        """Return it as :func:`fwx.testing.check_filter` takes it. :raises ValueError: what is said is no ISO 8859-1."""
        spoken: dict[str, Any] = {"opening": tuple((line.side, line.data.encode("latin-1")) for line in self.opening)}
        for key in ("to_server", "to_client", "elsewhere"):
            text: str = getattr(self, key)
            if text:
                spoken[key] = text.encode("latin-1") * self.times
        return Dialogue(target=address_of(self.target), changes_data=self.changes_data, **spoken)


def read_script(path: Path) -> Script:
    """Read the script that ``fwx conform --script`` names. :raises ScriptError: it is none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: {error}") from error
    return _parsed(text, str(path))


def script_of(module: str) -> Script | None:
    """Return the script that the package of *module* brings, ``None`` where it brings none.

    *module* is where the filter is loaded from, or its package itself. :raises ScriptError: the file is no script.
    """
    spec = importlib.import_module(module).__spec__
    if spec is None or not spec.parent:
        return None
    path = resources.files(spec.parent) / FILE_NAME
    return _parsed(path.read_text(), str(path)) if path.is_file() else None


def _parsed(text: str, name: str) -> Script:
    try:
        script = Script.model_validate(tomllib.loads(text))
        script.dialogue()
    except ValueError as error:
        raise ScriptError(f"{name}: {error}") from error
    return script
