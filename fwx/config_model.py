"""The tables of a configuration file, one class each. The description of a key is what its errors say was expected."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from fwx.config_alerts import Alert
from fwx.config_directories import Directory
from fwx.config_networks import RANGES as _RANGES
from fwx.config_networks import Computers, DomainNames, Network, NetworkRule, UrlNames
from fwx.config_problems import KeyPath
from fwx.config_rules import Rule
from fwx.config_source import Source
from fwx.config_table import Table
from fwx.config_values import (
    Array,
    Bind,
    Count,
    CountOrNone,
    DatabaseUrl,
    DayHours,
    Days,
    Guid,
    Hours,
    Interface,
    JsonFields,
    Name,
    OptionalNames,
    PasswordHash,
    PathText,
    Port,
    PortException,
    PortRange,
    Ranges,
    Seconds,
    ServerName,
    SniNames,
    Target,
    UserName,
    W3cFields,
)
from fwx.logs.jsonlines import FIELDS as JSON_FIELDS
from fwx.logs.w3cfields import FIELDS as W3C_FIELDS

_NAME = "a name, unique among its kind"
_BIND = "an address and a port, such as 127.0.0.1:1080 or [::1]:1080"
_TARGET = "an address or a name and a port, such as 10.2.0.5:8080"
_FILE = "the path of a file"
_DIRECTORY = "the path of a directory"
_COUNT = "a whole number from 1 up"
_PORT = "a port from 0 to 65535"


class Service(Table):
    """``[service]``."""

    name: Name = Field(default_factory=socket.gethostname, description="the firewall's name in the log")
    workers: Count = Field(default=1, description="the number of worker processes, " + _COUNT)
    state_dir: PathText = Field(default="state", description=_DIRECTORY + ", relative to the configuration file")
    user: Name | None = Field(default=None, description="the user that the service becomes after binding")
    blocked_loop_seconds: Seconds = Field(default=1.0, description="a number of seconds above 0")


class Tls(Table):
    """``tls`` of a listener; the paths are relative to the configuration file."""

    certificate: PathText = Field(description=_FILE + " with the certificate chain in PEM")
    key: PathText = Field(description=_FILE + " with the private key in PEM")
    ca: PathText | None = Field(default=None, description=_FILE + " with the authorities of client certificates in PEM")


class ToTls(Table):
    """``to_tls`` of a published server: TLS towards it."""

    verify: bool = Field(default=True, description="true or false")
    server_name: ServerName | None = Field(default=None, description="the name or address that its certificate is for")
    ca: PathText | None = Field(default=None, description=_FILE + " with the authorities of its certificate in PEM")

    @field_validator("ca")
    @classmethod
    def _is_of_use(cls, ca: str | None, info: ValidationInfo) -> str | None:
        if ca is not None and info.data.get("verify") is False:
            raise ValueError("is of no use while verify is false")
        return ca


class _Listener(Table):
    name: Name = Field(description=_NAME)
    bind: Bind = Field(description=_BIND)


class _ProxyProtocolListener(_Listener):
    proxy_protocol: Literal["off", "require"] = Field(default="off", description="'off' or 'require'")
    trusted: Ranges | None = Field(
        default=None, validate_default=True, description="senders of PROXY headers: " + _RANGES
    )

    @field_validator("trusted")
    @classmethod
    def _agrees(cls, trusted: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        mode = info.data.get("proxy_protocol")
        if mode == "require" and trusted is None:
            raise ValueError("is missing; proxy_protocol = 'require' needs it")
        if mode == "off" and trusted is not None:
            raise ValueError("is of no use while proxy_protocol is 'off'")
        return trusted


class ProxyListener(_ProxyProtocolListener):
    """``[[listener]]`` of kind ``proxy``: SOCKS and HTTP clients on one port."""

    kind: Literal["proxy"] = Field(description="'proxy'")
    authenticate: Literal["off", "optional", "required"] = Field(
        default="off", description="'off', 'optional' or 'required'"
    )
    tls: Tls | None = Field(default=None, description="a table with certificate and key")


class TransparentListener(_Listener):
    """``[[listener]]`` of kind ``transparent``: connections that the packet filter diverts here."""

    kind: Literal["transparent"] = Field(description="'transparent'")
    mode: Literal["tproxy", "redirect"] = Field(default="tproxy", description="'tproxy' or 'redirect'")
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="'tcp' or 'udp'")
    keep_client_address: bool = Field(default=False, description="true or false")

    @field_validator("transport", "keep_client_address")
    @classmethod
    def _of_tproxy(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("mode") == "redirect" and value not in ("tcp", False):
            raise ValueError("does not go with mode = 'redirect'")
        return value

    @property
    def makes_sockets(self) -> bool:
        """Whether the service needs sockets for it that speak for others, after it has given up root."""
        return self.transport == "udp" or self.keep_client_address


class PublishListener(_ProxyProtocolListener):
    """``[[listener]]`` of kind ``publish``: one server behind the firewall."""

    kind: Literal["publish"] = Field(description="'publish'")
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="'tcp' or 'udp'")
    sni: SniNames = Field(default_factory=dict, description="a table such as { 'www.example.org' = '10.2.0.5:443' }")
    to: Target | None = Field(default=None, validate_default=True, description=_TARGET)
    send_proxy_protocol: Literal["off", "v1", "v2"] = Field(default="off", description="'off', 'v1' or 'v2'")
    tls: Tls | None = Field(default=None, description="a table with certificate and key")
    to_tls: ToTls | None = Field(default=None, description="a table, which may be empty")

    @field_validator("transport", "send_proxy_protocol", "tls", "to_tls", "sni")
    @classmethod
    def _of_tcp(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "transport":
            if value == "udp" and info.data.get("proxy_protocol") == "require":
                raise ValueError("has no PROXY headers, which proxy_protocol = 'require' asks for")
        elif info.data.get("transport") == "udp" and value not in ("off", None, {}):
            raise ValueError("does not go with transport = 'udp'")
        return value

    @field_validator("tls", "to_tls")
    @classmethod
    def _decrypts(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("sni"):
            raise ValueError("does not go with sni, which passes TLS on as it is")
        return value

    @field_validator("to")
    @classmethod
    def _leads_somewhere(cls, to: Any, info: ValidationInfo) -> Any:
        if to is None and not info.data.get("sni", True):
            raise ValueError("is missing")
        return to


Listener = ProxyListener | TransparentListener | PublishListener


class ProtocolPorts(Table):
    """One item of a protocol's ``ports``. ``last`` is ``None`` when not written; ``last_port`` then is ``first``."""

    transport: Literal["tcp", "udp"] = Field(description="'tcp' or 'udp'")
    direction: Literal["outbound", "inbound", "send", "receive", "send_receive", "receive_send"] = Field(
        description="'outbound' or 'inbound' for tcp; 'send', 'receive', 'send_receive' or 'receive_send' for udp"
    )
    first: Port = Field(description=_PORT)
    last: Port | None = Field(default=None, description=_PORT)

    @property
    def last_port(self) -> int:
        return self.first if self.last is None else self.last

    @field_validator("direction")
    @classmethod
    def _suits(cls, direction: str, info: ValidationInfo) -> str:
        transport = info.data.get("transport")
        if transport is not None and (transport == "tcp") != (direction in {"outbound", "inbound"}):
            raise ValueError(f"is no direction of {transport}")
        return direction

    @field_validator("last")
    @classmethod
    def _follows(cls, last: int | None, info: ValidationInfo) -> int | None:
        first = info.data.get("first")
        if last is not None and first is not None and last < first:
            raise ValueError(f"is less than first, which is {first}")
        return last


class Protocol(Table):
    """``[[protocol]]``: one of the user's own, or a well-known one redefined."""

    name: Name = Field(description=_NAME)
    ports: Array[ProtocolPorts] = Field(
        min_length=1, description="tables such as { transport = 'tcp', direction = 'outbound', first = 21, last = 21 }"
    )
    guid: Guid | None = Field(default=None, description="a GUID such as DF6CABC0-D4A3-11D2-BBC4-00A0C9D785A6")


class User(Table):
    """``[[user]]``."""

    name: UserName = Field(description=_NAME)
    groups: OptionalNames = Field(default=(), description="names of groups")
    password: PasswordHash = Field(description="the Argon2id hash that 'fwx user add' prints")


class Schedule(Table):
    """``[[schedule]]``. ``days`` counts from Monday as 0; ``hours`` are local time."""

    name: Name = Field(description=_NAME)
    days: Days = Field(default=frozenset(range(7)), description="days such as mon-fri or mon,wed,sat-sun")
    hours: DayHours = Field(
        default=(Hours(0, 24 * 60),), description="spans such as 08:00-18:00 or 08:00-12:00,13:00-18:00"
    )


class Upstream(Table):
    """``[[upstream]]``: a proxy that connections are chained through, itself reached ``via`` another one."""

    name: Name = Field(description=_NAME)
    kind: Literal["socks5", "http"] = Field(description="'socks5' or 'http'")
    address: Target = Field(description=_TARGET)
    user: Name | None = Field(default=None, description="the user name there")
    password: Name | None = Field(default=None, description="the password, or password_file in its place")
    password_file: PathText | None = Field(
        default=None, validate_default=True, description=_FILE + " that holds the password"
    )
    via: Name | None = Field(default=None, description="the name of another upstream")

    @field_validator("password", "password_file")
    @classmethod
    def _has_user(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is not None and "user" in info.data and info.data["user"] is None:
            raise ValueError("is written without user")
        return secret

    @field_validator("password_file")
    @classmethod
    def _is_only_one(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is not None and info.data.get("password") is not None:
            raise ValueError("is written beside password; one of them is enough")
        if secret is None and info.data.get("user") is not None and info.data.get("password", "") is None:
            raise ValueError("is missing; user needs it, or password")
        return secret


class Filter(Table):
    """``[[filter]]``: one instance of a filter class."""

    name: Name = Field(description=_NAME)
    use: Name = Field(description="an entry point of the group fwx.filters, or module:Class")
    on_error: Literal["close", "open"] = Field(default="close", description="'close' or 'open'")
    everywhere: bool = Field(default=False, description="true or false")
    options: Mapping[str, Any] = Field(default_factory=dict, description="a table of the filter's options")


class W3cLog(Table):
    """``w3c`` of ``[log]``."""

    directory: PathText = Field(description=_DIRECTORY + ", relative to the state folder")
    fields: W3cFields = Field(default=tuple(W3C_FIELDS), description="names of fields, such as 'source' or 'action'")
    megabytes: Count | None = Field(default=None, description="the size at which a file is full, " + _COUNT)


class JsonLog(Table):
    """``json`` of ``[log]``."""

    directory: PathText = Field(description=_DIRECTORY + ", relative to the state folder")
    fields: JsonFields = Field(default=JSON_FIELDS, description="names of columns, such as 'SourceIP' or 'Action'")
    megabytes: Count | None = Field(default=None, description="the size at which a file is full, " + _COUNT)


class Log(Table):
    """``[log]``."""

    sqlite: PathText = Field(default="firewall.db", description=_FILE + ", relative to the state folder")
    w3c: W3cLog | None = Field(default=None, description="a table with directory")
    json_lines: JsonLog | None = Field(default=None, alias="json", description="a table with directory")
    sql: DatabaseUrl | None = Field(default=None, description="a database URL such as postgresql+psycopg://fwx@/fwx")
    on_error: Literal["close", "open"] = Field(default="close", description="'close' or 'open'")
    spool_megabytes: CountOrNone = Field(default=256, description="a whole number from 0 up")
    keep_days: Count | None = Field(default=None, description="a number of days, " + _COUNT)
    keep_megabytes: Count | None = Field(default=None, description=_COUNT)
    establish: bool = Field(default=False, description="true or false")
    intermediate_seconds: Seconds = Field(default=900.0, description="a number of seconds above 0")


class AddressLimits(Table):
    """What ``[limits]`` and its ``exceptions`` have in common: figures of one client address."""

    tcp_per_address: Count = Field(default=160, description=_COUNT)
    tcp_connects_per_minute_per_address: Count = Field(default=600, description=_COUNT)
    tcp_half_open_per_address: Count | None = Field(default=None, description=_COUNT)
    http_requests_per_minute_per_address: Count = Field(default=600, description=_COUNT)
    udp_per_address: Count = Field(default=160, description=_COUNT)


class LimitExceptions(AddressLimits):
    """``exceptions`` of ``[limits]``; the defaults are those of B11's table."""

    addresses: Ranges = Field(description=_RANGES)
    tcp_per_address: Count = Field(default=400, description=_COUNT)
    tcp_connects_per_minute_per_address: Count = Field(default=6000, description=_COUNT)
    http_requests_per_minute_per_address: Count = Field(default=6000, description=_COUNT)
    udp_per_address: Count = Field(default=400, description=_COUNT)


class Limits(AddressLimits):
    """``[limits]``, per client address; the defaults are those of B11's table."""

    udp_new_per_second_per_rule: int = Field(
        default=1000, ge=100, le=9_999_999, description="a whole number from 100 to 9999999"
    )
    log_refused: bool = Field(default=True, description="true or false")
    denials_before_alert: Count = Field(default=600, description=_COUNT)
    denial_records_per_second: Count | None = Field(default=None, description=_COUNT)
    denial_records_per_minute_per_address: Count | None = Field(default=None, description=_COUNT)
    handshakes: Count = Field(default=4096, description=_COUNT)
    connects: Count = Field(default=4096, description=_COUNT)
    look_ups: Count = Field(default=1024, description=_COUNT)
    udp_sessions: Count = Field(default=8192, description=_COUNT)
    memory_megabytes: CountOrNone | None = Field(default=None, description="a whole number from 0 up")
    memory_per_connection_kilobytes: int = Field(default=8192, ge=256, description="a whole number from 256 up")
    exceptions: LimitExceptions | None = Field(default=None, description="a table with addresses")
    handshake_seconds: Seconds = Field(default=10.0, description="a number of seconds above 0")


class PacketFilter(Table):
    """``[packet_filter]``."""

    backend: Literal["memory", "nftables"] = Field(default="memory", description="'memory' or 'nftables'")
    guard: Array[PortRange] = Field(default=((1, 65535),), description="ports such as 1024-65535")
    exceptions: Array[PortException] = Field(
        alias="except",
        default=(("tcp", 22, 22), ("udp", 68, 68), ("udp", 546, 546)),
        description="ports such as tcp/22 or udp/500-510",
    )
    interfaces: Array[Interface] = Field(default=(), description="names of interfaces, such as eth0 or ppp*")
    lockdown: Literal["fault", "always"] = Field(default="fault", description="'fault' or 'always'")

    @field_validator("guard", "exceptions", "interfaces", "lockdown")
    @classmethod
    def _is_of_use(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("backend") == "memory":
            raise ValueError("is of no use while backend is 'memory'")
        return value


class Console(Table):
    """``[console]``."""

    bind: Bind = Field(description=_BIND)


def _default_listeners() -> tuple[ProxyListener, ...]:
    return (ProxyListener.model_validate({"name": "proxy", "kind": "proxy", "bind": "127.0.0.1:1080"}),)


class Configuration(Table):
    """A whole configuration, made by :func:`fwx.config.load`. Reading it needs no look at defaults.

    Each array of tables is a tuple, named in the plural. ``packet_filter`` and ``console`` are there as defaults or
    ``None`` when they are not written.
    """

    service: Service = Field(default_factory=Service, description="a table [service]")
    networks: Array[Network] = Field(default=(), alias="network", description="tables [[network]]")
    computers: Array[Computers] = Field(default=(), description="tables [[computers]]")
    domains: Array[DomainNames] = Field(default=(), description="tables [[domains]]")
    urls: Array[UrlNames] = Field(default=(), description="tables [[urls]]")
    listeners: Array[Annotated[Listener, Field(discriminator="kind")]] = Field(
        default_factory=_default_listeners, alias="listener", min_length=1, description="tables [[listener]]"
    )
    protocols: Array[Protocol] = Field(default=(), alias="protocol", description="tables [[protocol]]")
    users: Array[User] = Field(default=(), alias="user", description="tables [[user]]")
    directories: Array[Annotated[Directory, Field(discriminator="kind")]] = Field(
        default=(), alias="directory", description="tables [[directory]]"
    )
    schedules: Array[Schedule] = Field(default=(), alias="schedule", description="tables [[schedule]]")
    upstreams: Array[Upstream] = Field(default=(), alias="upstream", description="tables [[upstream]]")
    filters: Array[Filter] = Field(default=(), alias="filter", description="tables [[filter]]")
    network_rules: Array[NetworkRule] = Field(default=(), alias="network_rule", description="tables [[network_rule]]")
    system_rules: Array[Rule] = Field(default=(), alias="system_rule", description="tables [[system_rule]]")
    rules: Array[Rule] = Field(default=(), alias="rule", description="tables [[rule]]")
    alerts: Array[Alert] = Field(default=(), alias="alert", description="tables [[alert]]")
    log: Log = Field(default_factory=Log, description="a table [log]")
    limits: Limits = Field(default_factory=Limits, description="a table [limits]")
    packet_filter: PacketFilter = Field(default_factory=PacketFilter, description="a table [packet_filter]")
    console: Console | None = Field(default=None, description="a table [console]")

    _source: Source = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Keep the :class:`Source`, which the caller of ``model_validate`` gives as context."""
        if not isinstance(context, Source):
            raise TypeError("a Configuration is made by fwx.config.load, which passes its source")
        self._source = context

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The system rules, then the others: the order in which they are tried."""
        return (*self.system_rules, *self.rules)

    def rule_path(self, number: int) -> tuple[str, int]:
        """Return where the rule of that *number* in :attr:`all_rules` stands in the file."""
        before = len(self.system_rules)
        return ("system_rule", number) if number < before else ("rule", number - before)

    @property
    def source(self) -> Source:
        """The file as it was read, with its lines."""
        return self._source

    @property
    def path(self) -> Path | None:
        """The file, or ``None`` for the embedded default."""
        return self._source.path

    def line(self, path: KeyPath) -> int:
        """Return the line of a key such as ``("rule", 0, "from")``; names are spelled as in the file."""
        return self._source.lines.line(path)

    def beside(self, text: str) -> Path:
        """Resolve a path that is relative to the configuration file (certificates, secrets)."""
        return (self.path.absolute().parent if self.path is not None else Path.cwd()) / text

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute. It need not exist."""
        if self.path is None:
            return _state_dir_without_file(os.environ, os.geteuid())
        return self.beside(self.service.state_dir)

    @property
    def log_database(self) -> Path:
        """The SQLite file of the firewall log, absolute. It need not exist."""
        return self.state_dir / self.log.sqlite


def _state_dir_without_file(environment: Mapping[str, str], uid: int) -> Path:
    """Root has ``/var/lib/fwx``; others follow the XDG base directory specification, which ignores relative paths."""
    if uid == 0:
        return Path("/var/lib/fwx")
    state_home = Path(environment.get("XDG_STATE_HOME", ""))
    return (state_home if state_home.is_absolute() else Path.home() / ".local" / "state") / "fwx"
