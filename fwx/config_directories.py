"""The tables ``[[directory]]``: users that other machines know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fwx.config_table import Table
from fwx.config_values import Array, Count, Name, PathText, Seconds, SecondsOrNone, Target, read_ldap_url, read_name
from fwx.directories import SEPARATOR
from fwx.directories.ldap_names import placeholders

_SECONDS = "a number of seconds above 0"
_FILTER = "an LDAP filter such as "


def _directory_name(text: str) -> str:
    if SEPARATOR in read_name(text):
        raise ValueError("has a backslash, which ends the name of a directory before that of a user")
    return text


def _ldap_filter(text: str, known: frozenset[str]) -> str:
    if not text.startswith("(") or not text.endswith(")") or text.count("(") != text.count(")"):
        raise ValueError("is not in parentheses that match")
    unknown = placeholders(text) - known
    if unknown:
        raise ValueError(f"has {{{min(unknown)}}}, which stands for nothing")
    if not placeholders(text):
        raise ValueError("holds for everybody alike: it has no " + " or ".join(f"{{{name}}}" for name in sorted(known)))
    return text


def _user_filter(text: str) -> str:
    return _ldap_filter(text, frozenset({"user"}))


def _group_filter(text: str) -> str:
    return _ldap_filter(text, frozenset({"user", "dn"})) if text else text


class _Directory(Table):
    name: Annotated[Name, AfterValidator(_directory_name)] = Field(description="a name, unique among its kind")
    timeout_seconds: Seconds = Field(default=5.0, description=_SECONDS)
    cache_seconds: SecondsOrNone = Field(default=60.0, description="a number of seconds, 0 for no memory")


class LdapDirectory(_Directory):
    """``[[directory]]`` of kind ``ldap``."""

    kind: Literal["ldap"] = Field(description="'ldap'")
    servers: Array[Annotated[str, AfterValidator(read_ldap_url)]] = Field(
        min_length=1, description="URLs such as ldap://ldap.example.org or ldaps://10.2.0.5:636"
    )
    start_tls: bool = Field(default=True, description="true or false, for ldap:// servers")
    ca: PathText | None = Field(
        default=None, description="the path of a file with the authorities of the servers' certificates in PEM"
    )
    bind_dn: Name | None = Field(default=None, description="the distinguished name of the account that searches")
    password_file: PathText | None = Field(
        default=None, validate_default=True, description="the path of a file that holds the account's password"
    )
    base: Name = Field(description="the distinguished name under which users are")
    user_filter: Annotated[str, AfterValidator(_user_filter)] = Field(
        default="(uid={user})", description=_FILTER + "(uid={user})"
    )
    user_attribute: Name = Field(default="uid", description="the attribute that says what a user is called")
    group_base: Name | None = Field(
        default=None, description="the distinguished name under which groups are, that of base without it"
    )
    group_filter: Annotated[str, AfterValidator(_group_filter)] = Field(
        default="(member={dn})", description=_FILTER + "(member={dn}) or (memberUid={user}), or '' for no groups"
    )
    group_attribute: Name = Field(default="cn", description="the attribute that says what a group is called")

    @field_validator("password_file")
    @classmethod
    def _has_account(cls, file: str | None, info: ValidationInfo) -> str | None:
        if "bind_dn" in info.data and (file is None) != (info.data["bind_dn"] is None):
            raise ValueError("is missing; bind_dn needs it" if file is None else "is written without bind_dn")
        return file

    @field_validator("ca")
    @classmethod
    def _is_of_use(cls, file: str | None, info: ValidationInfo) -> str | None:
        servers = info.data.get("servers", ("ldaps://",))
        if file is not None and not info.data.get("start_tls", True) and not any(map(_is_tls, servers)):
            raise ValueError("is of no use where no server speaks TLS")
        return file

    @property
    def speaks_tls(self) -> bool:
        return self.start_tls or any(map(_is_tls, self.servers))


class RadiusDirectory(_Directory):
    """``[[directory]]`` of kind ``radius``."""

    kind: Literal["radius"] = Field(description="'radius'")
    servers: Array[Target] = Field(
        min_length=1, description="addresses or names with ports, such as 10.2.0.6:1812, in the order to ask"
    )
    secret_file: PathText = Field(description="the path of a file that holds the secret shared with the servers")
    method: Literal["pap", "chap"] = Field(default="pap", description="'pap' or 'chap'")
    nas_identifier: Annotated[Name, Field(max_length=63)] | None = Field(
        default=None, description="what the servers know this firewall by, at most 63 characters"
    )
    tries: Annotated[Count, Field(le=10)] = Field(default=3, description="a whole number from 1 to 10")
    group_attribute: Literal["Filter-Id", "Class"] = Field(default="Filter-Id", description="'Filter-Id' or 'Class'")
    require_message_authenticator: bool = Field(default=True, description="true or false")


class PluginDirectory(_Directory):
    """``[[directory]]`` of kind ``plugin``."""

    kind: Literal["plugin"] = Field(description="'plugin'")
    use: Name = Field(description="an entry point of the group fwx.authenticators, or module:Class")
    options: Mapping[str, Any] = Field(default_factory=dict, description="a table of its options")


Directory = LdapDirectory | RadiusDirectory | PluginDirectory


def _is_tls(url: str) -> bool:
    return url.startswith("ldaps://")
