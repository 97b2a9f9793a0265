"""A filter with a policy of its own, a file of hosts that are closed, which it reads again when a change is applied."""

from __future__ import annotations

from pathlib import Path

from fwx import sdk


class ClosedHostsOptions(sdk.FilterOptions):
    file: str


class ClosedHosts:
    """The policy: one host a line, a name or an address. It does not change; a changed file makes another one."""

    def __init__(self, path: Path) -> None:
        """:raises COMError: the file cannot be read, or a line is no host; the words name it."""
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise sdk.COMError(sdk.E_FAIL, f"{path}: {error}") from error
        self._hosts: set[str] = set()
        for number, line in enumerate(lines, 1):
            host = line.partition("#")[0].strip()
            if " " in host or ":" in host.removeprefix("["):
                raise sdk.COMError(sdk.E_FAIL, f"{path}:{number}: expected one host, a name or an IPv4 address")
            if host:
                self._hosts.add(host.lower())

    def has(self, address: sdk.SocketAddress) -> bool:
        return address.host.lower() in self._hosts


@sdk.implementer(sdk.IFWXPolicyChangeNotification)
class CloseHosts(sdk.ConnectionFilter):
    """To be told of changes, a filter provides ``IFWXPolicyChangeNotification``; nothing else is registered (B7.16)."""

    Options = ClosedHostsOptions

    def __init__(self, options: ClosedHostsOptions) -> None:
        super().__init__()
        self._path = Path(options.file)

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self.policy = ClosedHosts(self._path)

    def ReloadConfiguration(self) -> None:
        self.policy = ClosedHosts(self._path)  # what is wrong raises, and the policy that there is stays

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        if self.policy.has(asked.target):
            sdk.IRecorded(asked.connection).remark("the host is closed")
            asked.connection.Deny(0)
        return None
