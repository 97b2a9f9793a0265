"""The tables of a configuration that are rules: ``[[rule]]`` and ``[[system_rule]]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from fwx.config_table import Table
from fwx.config_values import Array, ContentTypes, Count, Name, Names, OptionalNames, PortRange

_NAME = "a name, unique among its kind"
_COUNT = "a whole number from 1 up"


class RuleLimits(Table):
    """``limits`` of a rule."""

    connections_per_user: Count | None = Field(default=None, description=_COUNT)
    new_per_second_per_address: Count | None = Field(default=None, description=_COUNT)


class Rule(Table):
    """``[[rule]]`` and ``[[system_rule]]``. ``from`` is read as ``source``, ``to`` as ``destination``."""

    name: Name = Field(description=_NAME)
    action: Literal["allow", "deny"] = Field(description="'allow' or 'deny'")
    protocols: Names = Field(description="names of protocols, or 'any'")
    source: Names = Field(alias="from", description="names of networks or computers, 'any', 'external' or 'localhost'")
    destination: Names = Field(
        alias="to", description="names of networks, computers, domains or URLs, 'any', 'external' or 'localhost'"
    )
    users: Names = Field(default=("any",), description="names of users, 'any' or 'authenticated'")
    groups: OptionalNames = Field(default=(), description="names of groups")
    source_ports: Array[PortRange] = Field(default=(), description="ports of the client such as 1024-65535 or 500")
    schedule: Name | None = Field(default=None, description="the name of a schedule")
    shadow: bool = Field(default=False, description="true or false")
    upstream: Name | None = Field(default=None, description="the name of an upstream")
    filters: OptionalNames = Field(default=(), description="names of filters, client side first")
    log: bool = Field(default=True, description="true or false")
    limits: RuleLimits = Field(default_factory=RuleLimits, description="a table of limits")
    enabled: bool = Field(default=True, description="true or false")
    content_types: ContentTypes = Field(default=(), description="content types, such as 'text/html' or 'image/*'")

    @field_validator("content_types")
    @classmethod
    def _is_allowed(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("action") == "deny":
            raise ValueError("does not go with action = 'deny': what is allowed is named, the rest is refused")
        return value
