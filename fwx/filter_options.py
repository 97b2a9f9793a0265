"""The base class of a filter's options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FilterOptions(BaseModel):
    """What a filter author derives the ``Options`` class of a filter from.

    The keys of a ``[[filter]]`` table's ``options`` become its fields, strictly typed: an unknown key or a value of
    another type is an error of the configuration. The filter's constructor gets one frozen instance.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
