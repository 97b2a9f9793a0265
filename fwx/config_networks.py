"""The tables of a configuration that name places: networks, sets of computers, domains and URLs, and network rules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fwx.config_table import Table
from fwx.config_values import Domains, Name, Names, Ranges, Urls

_NAME = "a name, unique among its kind"
RANGES = "addresses and ranges, such as 10.1.0.0/16, 10.1.0.1 or 10.1.0.1-10.1.0.9"
_NETWORKS = "names of networks, 'any' or 'external'"


class Network(Table):
    """``[[network]]``: a name for ranges of addresses, which are in no other network."""

    name: Name = Field(description=_NAME)
    ranges: Ranges = Field(description=RANGES)


class Computers(Table):
    """``[[computers]]``: a name for ranges of addresses, whatever the networks are that they are in."""

    name: Name = Field(description=_NAME)
    ranges: Ranges = Field(description=RANGES)


class DomainNames(Table):
    """``[[domains]]``: a name for a set of DNS names."""

    name: Name = Field(description=_NAME)
    names: Domains = Field(description="DNS names, such as pypi.org or *.debian.org")


class UrlNames(Table):
    """``[[urls]]``: a name for a set of URLs of plain HTTP."""

    name: Name = Field(description=_NAME)
    urls: Urls = Field(description="URLs, such as http://www.example.org/path/* or *.example.org/page")


class NetworkRule(Table):
    """``[[network_rule]]``. ``from`` is read as ``source``, ``to`` as ``destination``."""

    name: Name = Field(description=_NAME)
    source: Names = Field(alias="from", description=_NETWORKS)
    destination: Names = Field(alias="to", description=_NETWORKS)
    relation: Literal["route", "nat"] = Field(description="'route' or 'nat'")
