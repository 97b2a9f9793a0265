"""The laws of IUnknown, which every battery tries on its subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from fwx.interfaces import (
    E_NOINTERFACE,
    E_POINTER,
    COMInterfaceClass,
    IUnknown,
    com_interfaces,
    iid,
)
from fwx.testing.battery import Rule, expect, expect_equal, expect_failure
from fwx.testing.verification import verify

Subject = TypeVar("Subject")

UNKNOWN_IID = UUID("00000000-dead-beef-0000-000000000000")
"""An IID that no interface has."""


def shape_rule(interface: COMInterfaceClass, get: Callable[[Subject], Any]) -> Rule[Subject]:
    """Make the rule that what *get* takes from the subject has every member of *interface*, to the letter."""
    return Rule(
        f"has every member of {interface.__name__} to the letter",
        ("B1.44",),
        lambda subject: verify(get(subject), interface),
    )


def unknown_rules(interface: COMInterfaceClass, get: Callable[[Subject], Any]) -> tuple[Rule[Subject], ...]:
    """Make the rules of IUnknown for the object that *get* takes from the subject, which provides *interface*."""

    def finds_itself(subject: Subject) -> None:
        target = get(subject)
        identifier = iid(interface)
        for riid in (interface, identifier, str(identifier), str(identifier).upper()):
            expect(target.QueryInterface(riid) is not None, f"QueryInterface({riid}) is None")
            expect(interface.providedBy(target.QueryInterface(riid)), f"QueryInterface({riid}) lacks {interface}")

    def is_one(subject: Subject) -> None:
        target = get(subject)
        identity = target.QueryInterface(IUnknown)
        face = target.QueryInterface(interface)
        expect(identity is target.QueryInterface(IUnknown), "QueryInterface(IUnknown) gives another object each time")
        expect(identity is face.QueryInterface(IUnknown), f"IUnknown differs between the object and its {interface}")

    def refuses(subject: Subject) -> None:
        target = get(subject)
        lacking = next(each for each in com_interfaces() if not each.providedBy(target))
        for riid in (lacking, UNKNOWN_IID, str(UNKNOWN_IID), "no IID at all"):
            expect_failure(f"QueryInterface({riid})", E_NOINTERFACE, target.QueryInterface, riid)
        expect_failure("QueryInterface(None)", E_POINTER, target.QueryInterface, None)

    def counts(subject: Subject) -> None:
        target = get(subject)
        before = target.AddRef()
        expect_equal(target.AddRef(), before + 1, "the second AddRef")
        expect_equal(target.Release(), before, "the first Release")
        expect_equal(target.Release(), before - 1, "the second Release")

    return (
        Rule("QueryInterface finds what the object has, by interface, UUID and text", ("B1.44",), finds_itself),
        Rule("QueryInterface(IUnknown) gives one and the same object", ("B1.44",), is_one),
        Rule("QueryInterface refuses what the object lacks", ("B1.44",), refuses),
        Rule("AddRef and Release count", ("B1.44", "B3.15"), counts),
    )
