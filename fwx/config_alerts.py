"""The tables ``[[alert]]``: what follows when an event occurs (behaviour topic 9)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, field_validator

from fwx.config_table import Table
from fwx.config_values import Array, Count, Name, PathText, Seconds, Target, check_host_name, reject_repeated

RESET = "reset"
"""``again_after_minutes`` of an alert that is not raised again before somebody resets it."""

MOST_A_SECOND = 1000
"""The highest ``events_per_second``."""

_LOCAL_PART = re.compile(r"[!-?A-~]{1,64}")  # printable ASCII without @
_SPECIAL = frozenset('()<>[]:;,\\"')
_SECONDS = "a number of seconds above 0"
_COUNT = "a whole number from 1 up"


def read_mail_address(text: str) -> str:
    """Read ``name@domain``, in ASCII and without quotes or comments: it goes into the commands of SMTP as it is."""
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or _SPECIAL & set(text) or not domain.isascii():
        raise ValueError("is not a mail address")
    check_host_name(domain)
    return text


def read_again(value: Any) -> float | None:
    """Read a number of minutes, or ``"reset"``, which is ``None``."""
    if value == RESET:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is no number of minutes")
    if not 0 <= value < float("inf"):
        raise ValueError("is out of range")
    return float(value)


def check_argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL in it")
    return text


MailAddress = Annotated[str, AfterValidator(read_mail_address)]
Again = Annotated[float | None, PlainValidator(read_again)]
Argument = Annotated[str, AfterValidator(check_argument)]


class Mail(Table):
    """``mail`` of an alert."""

    to: Annotated[Array[MailAddress], Field(min_length=1), AfterValidator(reject_repeated)] = Field(
        description="addresses such as ops@example.org"
    )
    sender: MailAddress = Field(alias="from", description="an address such as fwx@example.org")
    server: Target = Field(description="the mail server, an address or a name and a port, such as 127.0.0.1:25")
    start_tls: bool = Field(default=False, description="true or false")
    ca: PathText | None = Field(
        default=None, description="the path of a file with the authorities of the server's certificate in PEM"
    )
    user: Name | None = Field(default=None, description="the user name there")
    password_file: PathText | None = Field(
        default=None, validate_default=True, description="the path of a file that holds the password"
    )
    seconds: Seconds = Field(default=30.0, description=_SECONDS)

    @field_validator("ca", "user")
    @classmethod
    def _needs_tls(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("start_tls") is False:
            raise ValueError(
                "needs start_tls = true" if info.field_name == "user" else "is of no use without start_tls"
            )
        return value

    @field_validator("password_file")
    @classmethod
    def _goes_with_user(cls, file: str | None, info: ValidationInfo) -> str | None:
        if "user" in info.data and (info.data["user"] is None) != (file is None):
            raise ValueError("is missing; user needs it" if file is None else "is written without user")
        return file


class Alert(Table):
    """``[[alert]]``: an event, how much of it raises the alert, and what follows."""

    name: Name = Field(description="a name, unique among its kind")
    event: Name = Field(description="the name of an event, such as 'Log failure', or of one that a filter defines")
    enabled: bool = Field(default=True, description="true or false")
    additional_key: Name | None = Field(default=None, description="the key that is meant, or its beginning and *")
    server: Name | None = Field(default=None, description="the name of the firewall that is meant")
    severity: Literal["error", "warning", "information"] | None = Field(
        default=None, description="'error', 'warning' or 'information'"
    )
    category: Literal["security", "cache", "routing", "firewall service", "other", "load balancing"] | None = Field(
        default=None,
        description="'security', 'cache', 'routing', 'firewall service', 'other' or 'load balancing'",
    )
    after_events: Count = Field(default=1, description=_COUNT)
    events_per_second: Annotated[int, Field(ge=1, le=MOST_A_SECOND)] | None = Field(
        default=None, description=f"a whole number from 1 to {MOST_A_SECOND}"
    )
    again_after_minutes: Again = Field(default=1.0, description=f"a number of minutes from 0 up, or '{RESET}'")
    each_key: bool = Field(default=False, description="true or false")
    log: bool = Field(default=False, description="true or false")
    command: Annotated[Array[Argument], Field(min_length=1)] | None = Field(
        default=None, description="a program and its arguments, such as ['/usr/local/bin/page', 'ops']"
    )
    command_seconds: Seconds = Field(default=30.0, description=_SECONDS)
    mail: Mail | None = Field(default=None, description="a table with to, from and server")
    stop_service: bool = Field(default=False, description="true or false")

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None and not command[0]:
            raise ValueError("begins with no program")
        return command

    @field_validator("command_seconds")
    @classmethod
    def _is_of_use(cls, seconds: float, info: ValidationInfo) -> float:
        if "command" in info.data and info.data["command"] is None:
            raise ValueError("is of no use without command")
        return seconds
