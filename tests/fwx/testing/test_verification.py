"""Shape: every difference that verify() finds, in words, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from zope.interface import Attribute, Interface, alsoProvides, implementer, taggedValue

from fwx.impl.firewall import FWXFirewall
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_NOTIMPL,
    HRESULT,
    COMError,
    COMInterfaceClass,
    IFWXAuthenticatedUser,
    IFWXExternalIOCompletion,
    IFWXFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXIOCompletion,
    IFWXNetworkSocket,
    IFWXSessionFilter,
    IFWXSocket,
    IFWXTaskCompletion,
    IUnknown,
    com_interfaces,
)
from fwx.testing import Breach, ConformanceError, breaches, verify


@implementer(IFWXTaskCompletion)
class Right(Unknown):
    def CompleteTask(self, UserData: object) -> HRESULT | None:
        return None


@implementer(IFWXTaskCompletion)
class Missing(Unknown):
    """Has no CompleteTask."""


@implementer(IFWXTaskCompletion)
class NotAFunction(Unknown):
    CompleteTask = 7


@implementer(IFWXTaskCompletion)
class OtherName(Unknown):
    def CompleteTask(self, data: object) -> None: ...


@implementer(IFWXTaskCompletion)
class TooMany(Unknown):
    def CompleteTask(self, UserData: object, more: object) -> None: ...


@implementer(IFWXTaskCompletion)
class TooFew(Unknown):
    def CompleteTask(self) -> None: ...


@implementer(IFWXTaskCompletion)
class NoSelf(Unknown):
    def CompleteTask() -> None: ...  # type: ignore[misc]


@implementer(IFWXTaskCompletion)
class OptionalExtra(Unknown):
    def CompleteTask(self, UserData: object, loud: bool = False) -> None: ...


@implementer(IFWXTaskCompletion)
class KeywordExtra(Unknown):
    def CompleteTask(self, UserData: object, *, loud: bool = False) -> None: ...


@implementer(IFWXTaskCompletion)
class OptionalWhereRequired(Unknown):
    def CompleteTask(self, UserData: object = None) -> None: ...


@implementer(IFWXTaskCompletion)
class Anything(Unknown):
    def CompleteTask(self, *args: Any, **kwargs: Any) -> None: ...


@implementer(IFWXTaskCompletion)
class PositionalOnly(Unknown):
    def CompleteTask(self, UserData: object, /) -> None: ...


@implementer(IFWXTaskCompletion)
class KeywordOnly(Unknown):
    def CompleteTask(self, *, UserData: object) -> None: ...


@implementer(IFWXTaskCompletion)
class Coroutine(Unknown):
    async def CompleteTask(self, UserData: object) -> None: ...


@implementer(IFWXTaskCompletion)
class Generator(Unknown):
    def CompleteTask(self, UserData: object) -> Iterator[int]:
        yield 1


@implementer(IFWXTaskCompletion)
class AsyncGenerator(Unknown):
    async def CompleteTask(self, UserData: object) -> Any:
        yield 1


class Undeclared(Right):
    """Has everything, and says so through its base."""


class NeverDeclared:
    def QueryInterface(self, riid: Any) -> Any: ...
    def AddRef(self) -> int: ...  # type: ignore[empty-body]
    def Release(self) -> int: ...  # type: ignore[empty-body]
    def CompleteTask(self, UserData: object) -> None: ...


@implementer(IFWXTaskCompletion)
class BuiltIn(Unknown):
    CompleteTask = dict.update


@implementer(IFWXSocket)
class SwappedSend(Unknown):
    def Send(self, pIFWXIOCompletion: Any, pIOBuffer: Any, UserData: object) -> None: ...


@implementer(IFWXNetworkSocket)
class RequiredWhereOptional(Unknown):
    def Connect(self, Address: Any, AddressLength: int | None) -> None: ...


@implementer(IFWXFilter)
class LiteralOuts(Unknown):
    """Written as the IDL has it."""

    def FilterInit(self, pIFWXFirewall: Any, pFilterHookEvents: Any) -> Any: ...
    def AttachToSession(self, piSession: Any, piSessionFilter: Any, pFilterHookEvents: Any) -> Any: ...


@implementer(IFWXFilter)
class NoResult(Unknown):
    def FilterInit(self, pIFWXFirewall: Any) -> None: ...


@implementer(IFWXIOBuffer)
class LiteralLength(Unknown):
    def GetBufferAndSize(self, pdwSize: Any) -> Any: ...


@implementer(IFWXAuthenticatedUser)
class PropertyAsMethod(Unknown):
    def Username(self) -> str: ...  # type: ignore[empty-body]


@implementer(IFWXAuthenticatedUser)
class PropertyAsGetter(Unknown):
    def get_Username(self) -> str: ...  # type: ignore[empty-body]


@implementer(IFWXIOCompletion, IFWXExternalIOCompletion)
class BothCompletions(Unknown):
    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: Any,
        UserData: object,
        ExternalAddress: Any,
        ExternalAddressLength: int,
    ) -> None: ...


WANTED = "a method (UserData)"
TABLE: tuple[tuple[type, COMInterfaceClass, str], ...] = (
    (Missing, IFWXTaskCompletion, f"IFWXTaskCompletion.CompleteTask: expected {WANTED}, found nothing"),
    (NotAFunction, IFWXTaskCompletion, f"IFWXTaskCompletion.CompleteTask: expected {WANTED}, found int 7"),
    (OtherName, IFWXTaskCompletion, "CompleteTask: expected the parameters (UserData), found (data)"),
    (TooMany, IFWXTaskCompletion, "CompleteTask: expected the parameters (UserData), found (UserData, more)"),
    (TooFew, IFWXTaskCompletion, "CompleteTask: expected the parameters (UserData), found ()"),
    (NoSelf, IFWXTaskCompletion, "CompleteTask: expected self as the first parameter, found () -> 'None'"),
    (OptionalExtra, IFWXTaskCompletion, "CompleteTask: expected no further parameter, found the optional loud"),
    (KeywordExtra, IFWXTaskCompletion, "CompleteTask: expected no further parameter, found the optional loud"),
    (OptionalWhereRequired, IFWXTaskCompletion, "expected UserData to be required, found it optional"),
    (RequiredWhereOptional, IFWXNetworkSocket, "expected AddressLength to be optional, found it required"),
    (Anything, IFWXTaskCompletion, "CompleteTask: expected every parameter by its name, found *args: 'Any'"),
    (Anything, IFWXTaskCompletion, "CompleteTask: expected every parameter by its name, found **kwargs: 'Any'"),
    (
        PositionalOnly,
        IFWXTaskCompletion,
        "UserData to be passed in place or by name, found a positional-only parameter",
    ),
    (KeywordOnly, IFWXTaskCompletion, "UserData to be passed in place or by name, found a keyword-only parameter"),
    (Coroutine, IFWXTaskCompletion, "CompleteTask: expected a plain function, found a coroutine function"),
    (Generator, IFWXTaskCompletion, "CompleteTask: expected a plain function, found a generator function"),
    (AsyncGenerator, IFWXTaskCompletion, "CompleteTask: expected a plain function, found a generator function"),
    (NeverDeclared, IFWXTaskCompletion, "expected @implementer(IFWXTaskCompletion) on the class, found no such"),
    (BuiltIn, IFWXTaskCompletion, f"CompleteTask: expected {WANTED}, found"),
    (
        SwappedSend,
        IFWXSocket,
        "(pIOBuffer, pIFWXIOCompletion, UserData), found (pIFWXIOCompletion, pIOBuffer, UserData)",
    ),
    (LiteralOuts, IFWXFilter, "FilterInit: expected pFilterHookEvents as a result ([out]), found the parameter"),
    (LiteralOuts, IFWXFilter, "AttachToSession: expected piSessionFilter as a result ([out]), found the parameter"),
    (NoResult, IFWXFilter, "FilterInit: expected the result pFilterHookEvents ([out]), found -> None"),
    (
        LiteralLength,
        IFWXIOBuffer,
        "GetBufferAndSize: expected pdwSize as a result ([out]), found the parameter pdwSize",
    ),
    (
        PropertyAsMethod,
        IFWXAuthenticatedUser,
        "Username: expected a read-only attribute ([propget], get_Username on the COM face alone), found a method",
    ),
    (PropertyAsGetter, IFWXAuthenticatedUser, "get_Username on the COM face alone), found the method get_Username"),
    (
        BothCompletions,
        IFWXIOCompletion,
        "IFWXIOCompletion.CompleteAsyncIO: expected one class for IFWXIOCompletion and another for "
        "IFWXExternalIOCompletion, whose parameters differ, found one that declares both",
    ),
)


@pytest.mark.parametrize("form", ["class", "object"])
@pytest.mark.parametrize(("wrong", "interface", "words"), TABLE)
def test_every_difference_is_found(form: str, wrong: type, interface: COMInterfaceClass, words: str) -> None:
    with pytest.raises(ConformanceError) as failure:
        verify(wrong if form == "class" else wrong(), interface)
    assert any(words in str(breach) for breach in failure.value.breaches), str(failure.value)


@pytest.mark.parametrize("candidate", [Right, Right(), Undeclared, Undeclared()])
def test_what_is_right_passes(candidate: object) -> None:
    verify(candidate, IFWXTaskCompletion)


def test_all_breaches_come_at_once_in_vtable_order() -> None:
    with pytest.raises(ConformanceError) as failure:
        verify(SwappedSend, IFWXSocket)
    places = [(breach.interface, breach.method) for breach in failure.value.breaches]
    names = ["Send", "SendTo", "Recv", "Shutdown", "Close", "_GetWriteCount", "_IsDataAvailable"]
    assert places == [("IFWXSocket", name) for name in names]
    lines = str(failure.value).splitlines()
    assert lines[0] == "SwappedSend: 7 breaches of the contract"
    assert lines[1].startswith("- IFWXSocket.Send: expected the parameters")
    assert breaches(SwappedSend, IFWXSocket) == list(failure.value.breaches)


def test_a_breach_names_the_interface_that_declares_the_method() -> None:
    found = {breach.interface for breach in breaches(RequiredWhereOptional, IFWXNetworkSocket)}
    assert found == {"IFWXSocket", "IFWXNetworkSocket"}
    assert str(Breach("IFoo", "", "this", "that")) == "IFoo: expected this, found that"


def test_a_property_may_answer_a_failure() -> None:
    @implementer(IFWXAuthenticatedUser)
    class User(Unknown):
        Username = "jane"
        Namespace = "AD"

        @property
        def UserGroups(self) -> str:
            raise COMError(E_NOTIMPL)

        def Impersonate(self) -> None: ...
        def RevertToSelf(self) -> None: ...

    verify(User(), IFWXAuthenticatedUser)
    verify(User, IFWXAuthenticatedUser)
    del User.Namespace
    assert [str(breach.found) for breach in breaches(User(), IFWXAuthenticatedUser)] == ["nothing"]
    assert breaches(User, IFWXAuthenticatedUser) == [], "a class may leave an attribute to its objects"


def test_an_object_may_provide_by_itself() -> None:
    bare = NeverDeclared()
    alsoProvides(bare, IFWXTaskCompletion)
    verify(bare, IFWXTaskCompletion)


class INoIid(IUnknown):
    def Do() -> None: ...


class IStolenIid(IUnknown):
    taggedValue("iid", UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"))

    def Do() -> None: ...


class IOfMine(IUnknown):
    taggedValue("iid", UUID("b9a5a1c5-6f0f-4d0c-9b62-6a5a0a3f9d11"))

    def Do() -> None: ...


@implementer(INoIid, IStolenIid, IOfMine)
class Doing(Unknown):
    def Do(self) -> None: ...


def test_the_iid_must_be_there_and_right() -> None:
    verify(Doing, IOfMine)
    (missing,) = breaches(Doing, INoIid)
    assert str(missing) == "INoIid: expected an IID of its own: taggedValue('iid', UUID(...)), found none"
    (stolen,) = breaches(Doing, IStolenIid)
    assert str(stolen).endswith("found 0cf075b5-a8f6-11d0-a7f1-0000f8750b21, which is IFWXSocket's")


def test_an_interface_that_takes_a_published_name_is_found() -> None:
    other = UUID("b9a5a1c5-6f0f-4d0c-9b62-6a5a0a3f9d12")
    twin = COMInterfaceClass("IFWXSocket", (IUnknown,), {"__module__": __name__})
    twin.setTaggedValue("iid", other)

    @implementer(twin)
    class Socket(Unknown):
        """Has nothing but what IUnknown asks for."""

    (found,) = breaches(Socket, twin)
    assert "fwx.interfaces.IFWXSocket with the IID 0cf075b5" in str(found)
    assert str(other) in str(found)


def test_what_is_no_com_interface_is_refused() -> None:
    class IPlain(Interface):
        name = Attribute("A name.")

    with pytest.raises(TypeError, match="expected an interface derived from IUnknown"):
        verify(Right, IPlain)  # type: ignore[arg-type]


@pytest.mark.parametrize("interface", list(com_interfaces()), ids=lambda each: str(each.__name__))
def test_nothing_of_a_foreign_class_is_taken_for_an_interface(interface: COMInterfaceClass) -> None:
    if interface is not IUnknown:
        assert breaches(object(), interface)


def test_own_classes_and_objects_are_judged_alike() -> None:
    for candidate, interface in (
        (FWXIOBuffer, IFWXIOBuffer),
        (FWXIOBuffer(b"abc"), IFWXIOBuffer),
        (FWXFirewall, IFWXFirewall),
        (FWXFirewall, IFWXFirewall2),
    ):
        assert breaches(candidate, interface) == []
    assert breaches(FWXIOBuffer, IFWXSessionFilter)
