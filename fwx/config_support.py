"""What the format has and this version cannot do yet. The service refuses to start with it: no key is ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fwx.config_model import Configuration
from fwx.config_problems import KeyPath, Problem

_RULE = frozenset(
    {
        "name",
        "action",
        "protocols",
        "from",
        "to",
        "users",
        "groups",
        "source_ports",
        "schedule",
        "shadow",
        "upstream",
        "filters",
        "log",
        "limits",
        "content_types",
        "enabled",
    }
)

SUPPORTED_KEYS: Mapping[str, frozenset[str]] = {
    "service": frozenset({"name", "workers", "state_dir", "user", "blocked_loop_seconds"}),
    "network": frozenset({"name", "ranges"}),
    "computers": frozenset({"name", "ranges"}),
    "domains": frozenset({"name", "names"}),
    "urls": frozenset({"name", "urls"}),
    "listener": frozenset(
        {
            "name",
            "kind",
            "bind",
            "to",
            "transport",
            "mode",
            "keep_client_address",
            "authenticate",
            "proxy_protocol",
            "trusted",
            "send_proxy_protocol",
            "tls",
            "to_tls",
            "sni",
        }
    ),
    "protocol": frozenset({"name", "ports", "guid"}),
    "user": frozenset({"name", "groups", "password"}),
    "directory": frozenset(
        {
            "name",
            "kind",
            "timeout_seconds",
            "cache_seconds",
            "servers",
            "start_tls",
            "ca",
            "bind_dn",
            "password_file",
            "base",
            "user_filter",
            "user_attribute",
            "group_base",
            "group_filter",
            "group_attribute",
            "secret_file",
            "method",
            "nas_identifier",
            "tries",
            "require_message_authenticator",
            "use",
            "options",
        }
    ),
    "schedule": frozenset({"name", "days", "hours"}),
    "upstream": frozenset({"name", "kind", "address", "user", "password", "password_file", "via"}),
    "filter": frozenset({"name", "use", "on_error", "everywhere", "options"}),
    "network_rule": frozenset({"name", "from", "to", "relation"}),
    "system_rule": _RULE,
    "rule": _RULE,
    "alert": frozenset(
        {
            "name",
            "event",
            "enabled",
            "additional_key",
            "server",
            "severity",
            "category",
            "after_events",
            "events_per_second",
            "again_after_minutes",
            "each_key",
            "log",
            "command",
            "command_seconds",
            "mail",
            "stop_service",
        }
    ),
    "log": frozenset(
        {
            "sqlite",
            "w3c",
            "json",
            "sql",
            "on_error",
            "spool_megabytes",
            "keep_days",
            "keep_megabytes",
            "establish",
            "intermediate_seconds",
        }
    ),
    "limits": frozenset(
        {
            "tcp_per_address",
            "tcp_connects_per_minute_per_address",
            "tcp_half_open_per_address",
            "http_requests_per_minute_per_address",
            "udp_per_address",
            "udp_new_per_second_per_rule",
            "log_refused",
            "denials_before_alert",
            "denial_records_per_second",
            "denial_records_per_minute_per_address",
            "handshakes",
            "connects",
            "look_ups",
            "udp_sessions",
            "memory_megabytes",
            "memory_per_connection_kilobytes",
            "exceptions",
            "handshake_seconds",
        }
    ),
    "packet_filter": frozenset({"backend", "guard", "except", "interfaces", "lockdown"}),
}
"""What the service does today, whatever the value; :data:`SUPPORTED_VALUES` narrows some of it."""

SUPPORTED_VALUES: Mapping[str, frozenset[object]] = {
    "service.workers": frozenset({1}),
}

REFUSALS: Mapping[str, str] = {
    "service.workers": "this version runs one worker process; write 1 or leave it out",
    "console": "this version has no console; leave the table out",
}


def unsupported(configuration: Configuration) -> list[Problem]:
    """Return what is written in the configuration's file and not done by this version, in the file's order.

    ``fwx serve`` refuses to start with any of it; ``fwx check`` accepts it with a note.
    """
    source = configuration.source
    found: list[Problem] = []
    for name, value in source.data.items():
        tables = list(source.tables(name)) if isinstance(value, list) else [((name,), value)]
        for path, table in tables:
            found += [source.problem(place, message) for place, message in _refused(path, name, table)]
    return sorted(found, key=lambda problem: problem.line)


def _refused(path: KeyPath, name: str, table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if name not in SUPPORTED_KEYS:
        yield path, REFUSALS[name]
        return
    for key, value in table.items():
        dotted = f"{name}.{key}"
        values = SUPPORTED_VALUES.get(dotted)
        if key not in SUPPORTED_KEYS[name] or (values is not None and value not in values):
            yield (*path, key), REFUSALS[dotted]
