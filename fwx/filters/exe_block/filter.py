"""The filter ``exe-block``: its options, and what it attaches to each control connection."""

from __future__ import annotations

import tempfile
from ipaddress import ip_address, ip_network
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from fwx import sdk
from fwx.filters.conversation import Conversation
from fwx.filters.exe_block.dialogue import ScannedDialogue
from fwx.filters.exe_block.ports import WatchedPorts
from fwx.filters.exe_block.scanner import Scanner, Scanning
from fwx.filters.exe_block.signatures import Kind, Signatures


def _folder(text: str) -> str:
    if not PurePosixPath(text).is_absolute():
        raise ValueError("expected an absolute path")
    return text


def _pattern(text: str) -> str:
    try:
        pattern = bytes.fromhex(text)
    except ValueError:
        pattern = b""
    if not 2 <= len(pattern) <= 64:
        raise ValueError("expected 2 to 64 bytes in hexadecimal, such as '504b0304'")
    return text


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected an address or a network, such as '10.1.0.0/16': {error}") from error
    return text


class ExeBlockOptions(sdk.FilterOptions):
    """The options of ``exe-block``; docs/filters/exe-block.rst explains them."""

    kinds: tuple[Kind, ...] = ("dos", "elf", "mach-o")
    patterns: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ()
    uploads: bool = False
    exempt_users: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    exempt_addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    resume: Literal["refuse", "pass"] = "refuse"
    largest: int = Field(default=1 << 30, ge=0)
    folder: Annotated[str, AfterValidator(_folder)] = "/var/tmp"  # noqa: S108  nothing there has a name

    @model_validator(mode="after")
    def _looks_for_something(self) -> ExeBlockOptions:
        if not self.kinds and not self.patterns:
            raise ValueError("expected kinds or patterns to look for")
        return self


class Reports:
    """Tells the log and the alerts what one client was refused."""

    def __init__(self, owner: ExeBlock, client: str, control: Any) -> None:
        """*control* is the record of the control connection, up to its end."""
        self._owner = owner
        self._client = client
        self.control: Any = control

    def of_data(self, words: str, is_failure: bool) -> None:
        """A file does not pass; *is_failure*, because it could not be looked at."""
        self._remark(words)
        self._owner.signal(self._client, words, is_failure=is_failure)

    def of_control(self, words: str, alarming: bool) -> None:
        """Something in the conversation does not pass."""
        self._remark(words)
        if alarming:
            self._owner.signal(self._client, words, is_failure=True)

    def _remark(self, words: str) -> None:
        if self.control is not None:
            self.control.remark(f"exe-block: {words}")


class ControlConnection(Conversation):
    """A control connection; its data port is watched no longer than it."""

    def __init__(self, dialogue: ScannedDialogue, ports: WatchedPorts, reports: Reports) -> None:
        super().__init__(dialogue, reports.of_control)
        self._scanned = dialogue
        self._ports = ports
        self._reports = reports

    def Detach(self) -> None:
        super().Detach()
        self._reports.control = None
        self._ports.detach(under_way=self._scanned.is_under_way)


@sdk.implementer(sdk.IFWXFilter)
class ExeBlock(sdk.ConnectionFilter):
    """The filter object. It reads control connections nearest to the server, behind ``ftp``, which names the ports."""

    Options = ExeBlockOptions
    EVENTS = ("Program blocked", "File not looked at")
    priority = sdk.fwx_dfpc_PreTrust

    def __init__(self, options: ExeBlockOptions) -> None:
        self._options = options
        self._signatures = Signatures(options.kinds, map(bytes.fromhex, options.patterns))
        self._exempt = tuple(map(ip_network, options.exempt_addresses))
        self._blocked: sdk.EventDefinition | None = None
        self._failed: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        """:raises OSError: no file can be made in the folder."""
        with tempfile.TemporaryFile(dir=self._options.folder):
            """So could that of a transfer."""
        self._blocked = sdk.define_event(firewall, "Program blocked", source="exe-block")
        self._failed = sdk.define_event(firewall, "File not looked at", source="exe-block")

    def ended(self) -> None:
        self._blocked = self._failed = None

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        record: Any = sdk.IRecorded
        about, client = record(asked.connection), asked.client.host
        if self._is_exempt(about.user, client):
            return None
        options = self._options
        scanning = Scanning(self.firewall, self._signatures, options.folder, options.largest, options.uploads)
        reports = Reports(self, client, about)
        ports = WatchedPorts(asked, lambda port: Scanner(port, scanning, reports.of_data))
        resumes = options.resume == "pass"
        dialogue = ScannedDialogue(ports, resumes=resumes, appends=resumes or not options.uploads)
        return ControlConnection(dialogue, ports, reports)

    def _is_exempt(self, user: str, client: str) -> bool:
        """Tell whether the client may fetch programs: by name where it has one, else by address too (B12.1)."""
        address = ip_address(client)
        address = getattr(address, "ipv4_mapped", None) or address
        return user in self._options.exempt_users or any(address in network for network in self._exempt)

    def signal(self, client: str, words: str, *, is_failure: bool) -> None:
        """Raise the alert: a program, or something that was not looked at."""
        event = self._failed if is_failure else self._blocked
        if event is not None:
            sdk.signal(event, f"client {client}: {words}", key=client)
