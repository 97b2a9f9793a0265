"""How a COM interface is written down in Python: the interface class, the IDL marks and the IDL's plain types.

A declaration reads like Python; types, directions and attributes of its IDL follow from the annotations::

    class IFWXSocket(IUnknown):
        taggedValue("iid", UUID("0CF075B5-A8F6-11D0-A7F1-0000F8750B21"))

        def Send(
            pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: UserContextType
        ) -> None: ...

Only what deviates from the table is marked, with :class:`Idl` on a parameter and :class:`Out` in a result. The table:

=========================  ================================================================
annotation                 IDL
=========================  ================================================================
``IFoo``                   ``[in] IFoo*``; as an out ``[out] IFoo**``
``DWORD``, ``BOOL``, ...   ``[in] DWORD``; as an out ``[out] DWORD*``
``int``                    ``[in] int``
an enumeration             ``[in] FwxName``; as an out ``[out] FwxName*``
``... | None``             the same: NULL is legal in fact, which no IDL attribute is taken to say
``-> None``                no out
``-> HRESULT``             no out; the success code is the answer
``-> HRESULT | None``      no out; implemented by a filter, ``None`` stands for ``S_OK``
=========================  ================================================================

:func:`fwx.interfaces.idl.methods` reads the declarations back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import FunctionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, TypeVar, cast
from uuid import UUID

from zope.interface import Attribute, Interface, taggedValue
from zope.interface.interface import InterfaceClass

from fwx.interfaces.address import SocketAddress
from fwx.interfaces.hresult import WSAEFAULT

if TYPE_CHECKING:
    from fwx.interfaces.structs import Hostent

T = TypeVar("T")
Direction: TypeAlias = Literal["in", "out", "inout", "unmarked"]

ERROR_INSUFFICIENT_BUFFER: Final = 122


# ---- marks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, init=False)
class Idl:
    """What the IDL says of a parameter where the table does not give it: type, attributes, direction.

    Several marks on one parameter add up: the last type and direction win, attributes are collected.
    """

    type: str | None
    attributes: tuple[str, ...]
    direction: Direction | None

    def __init__(self, type: str | None = None, *attributes: str, direction: Direction | None = None) -> None:
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "attributes", attributes)
        object.__setattr__(self, "direction", direction)


@dataclass(frozen=True, slots=True)
class LengthOf:
    """Marks an ``[in]`` length or count that only repeats that of the argument *argument*.

    On the Python face ``None`` means the argument's own length; more than that is ``E_INVALIDARG``.

    :ivar argument: name of the parameter described.
    :ivar each: the size of each member of that array, not their number.
    """

    argument: str
    each: bool = False


@dataclass(frozen=True, slots=True)
class Length:
    """A length parameter that only describes an out. It is a parameter of the COM face alone.

    :ivar name: the IDL name.
    :ivar idl: the IDL type, such as ``LPDWORD``.
    :ivar direction: as the IDL marks it.
    :ivar capacity: the caller puts the size of its memory there first, whatever the IDL's mark is.
    :ivar too_small: the Windows error for too small a capacity; the length needed is stored then.
    :ivar optional: NULL is legal.
    :ivar trailing: the parameter stands at the end and not right after its out.
    """

    name: str
    idl: str
    direction: Direction = "inout"
    capacity: bool = True
    too_small: int = WSAEFAULT
    optional: bool = False
    trailing: bool = False


@dataclass(frozen=True, slots=True, init=False)
class Out:
    """An ``[out]`` parameter, or the outward half of an ``[in, out]`` one, written in the result annotation.

    :ivar name: the IDL name; an equal name among the parameters makes that one ``[in, out]``.
    :ivar idl: the IDL type if the table does not give it.
    :ivar attributes: further IDL attributes.
    :ivar before: name of the parameter that it stands before; ``None`` is the end of the list.
    :ivar length: the parameter that carries its length.
    :ivar optional: the COM face may pass NULL for "not wanted".
    """

    name: str
    idl: str | None
    attributes: tuple[str, ...]
    before: str | None
    length: Length | None
    direction: Direction
    optional: bool

    def __init__(
        self,
        name: str,
        idl: str | None = None,
        *attributes: str,
        before: str | None = None,
        length: Length | None = None,
        direction: Direction = "out",
        optional: bool = False,
    ) -> None:
        values = {
            "name": name,
            "idl": idl,
            "attributes": attributes,
            "before": before,
            "length": length,
            "direction": direction,
            "optional": optional,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)


@dataclass(frozen=True, slots=True, init=False)
class MethodIdl:
    """What the IDL says of a method: attributes such as ``local``, and its name where Python cannot spell it."""

    attributes: tuple[str, ...]
    name: str | None

    def __init__(self, *attributes: str, name: str | None = None) -> None:
        object.__setattr__(self, "attributes", attributes)
        object.__setattr__(self, "name", name)


UNIQUE: Final = Idl(None, "unique")
UNMARKED: Final = Idl(direction="unmarked")


# ---- the IDL's plain types -------------------------------------------------------------------------------------------

BOOL: TypeAlias = Annotated[bool, Idl("BOOL")]
BOOLEAN: TypeAlias = Annotated[bool, Idl("BOOLEAN")]
USHORT: TypeAlias = Annotated[int, Idl("USHORT")]
INT: TypeAlias = Annotated[int, Idl("INT")]
UINT: TypeAlias = Annotated[int, Idl("UINT")]
unsigned_int: TypeAlias = Annotated[int, Idl("unsigned int")]
DWORD: TypeAlias = Annotated[int, Idl("DWORD")]
ULONG: TypeAlias = Annotated[int, Idl("ULONG")]
LONGLONG: TypeAlias = Annotated[int, Idl("LONGLONG")]
DWORD_PTR: TypeAlias = Annotated[int, Idl("DWORD_PTR")]
HANDLE_PTR: TypeAlias = Annotated[int, Idl("HANDLE_PTR")]
UserContextType: TypeAlias = Annotated[object, Idl("UserContextType")]
LPSTR: TypeAlias = Annotated[str, Idl("LPSTR")]
LPCSTR: TypeAlias = Annotated[str, Idl("LPCSTR")]
LPCWSTR: TypeAlias = Annotated[str, Idl("LPCWSTR")]
BSTR: TypeAlias = Annotated[str, Idl("BSTR")]
GUID: TypeAlias = Annotated[UUID, Idl("GUID")]
REFGUID: TypeAlias = Annotated[UUID, Idl("REFGUID")]
REFCLSID: TypeAlias = Annotated[UUID, Idl("REFCLSID")]
IN_ADDR: TypeAlias = Annotated[IPv4Address, Idl("IN_ADDR")]
SOCKADDR: TypeAlias = Annotated[SocketAddress, Idl("LPSOCKADDR")]
LPHOSTENT: TypeAlias = Annotated["Hostent", Idl("LPHOSTENT")]
ReadableBuffer: TypeAlias = bytes | bytearray | memoryview


# ---- interfaces ------------------------------------------------------------------------------------------------------


class COMInterfaceClass(InterfaceClass):
    """The class of every COM interface. It keeps the declarations, whose annotations zope.interface throws away.

    :raises TypeError: an interface with no base or several, which no vtable can have.
    """

    _declarations: Mapping[str, object]

    def __init__(
        self,
        name: str,
        bases: tuple[Any, ...] = (),
        attrs: dict[str, Any] | None = None,
        __doc__: str | None = None,
        __module__: str | None = None,
    ) -> None:
        if len(bases) != 1:
            raise TypeError(f"{name}: a COM interface has exactly one base, not {len(bases)}")
        attrs = {} if attrs is None else attrs
        annotations = attrs.get("__annotations__", {})
        self._declarations = {
            member: value if isinstance(value, FunctionType) else annotations.get(member)
            for member, value in attrs.items()
            if isinstance(value, (FunctionType, Attribute))
        }
        super().__init__(name, bases, attrs, __doc__, __module__)

    @property
    def declarations(self) -> Mapping[str, object]:
        """The interface's own members in vtable order: a function, or the annotation of a ``[propget]`` attribute.

        One of another SDK that is tagged with ``has_vtable`` as false has none here: its attributes are of the Python
        face alone.
        """
        return self._declarations if cast("Any", self).queryDirectTaggedValue("has_vtable", True) else {}


class IUnknown(Interface, metaclass=COMInterfaceClass):
    """The root of every COM interface: asks one object for its other interfaces, and counts references.

    Both sides implement it, the service for its objects and a filter for its own. The garbage collector owns the
    memory; the count owns the outside resource (a socket, a timer). The Python face never counts by itself.
    """

    taggedValue("iid", UUID("00000000-0000-0000-C000-000000000046"))

    def QueryInterface(
        riid: Annotated[type[T] | UUID | str, Idl("REFIID")],
    ) -> Annotated[T, Out("ppvObject", "void**")]:
        """Return the interface *riid* of this object. Called by anybody who holds any interface of it, at any time.

        The answers for one object never change, hold in both directions and through a third interface, and
        ``QueryInterface(IUnknown)`` always gives one and the same object. Access rights are not judged here.

        :param riid: the interface, or its IID as a UUID or as text.
        :returns: *ppvObject*; on the COM face it carries a reference of its own, and is NULL on failure.
        :raises COMError: ``E_NOINTERFACE``, the object lacks the interface; ``E_POINTER``, no place for the result
            (COM face only).
        """

    def AddRef() -> ULONG:
        """Count one more reference. Called by whoever keeps the object beyond the call that showed it.

        :returns: the new count, fit for tests only; the IDL gives this method no HRESULT.
        :raises COMError: ``E_UNEXPECTED``, the count had reached 0 before.
        """

    def Release() -> ULONG:
        """Give up one reference; matches one ``AddRef``, or the reference that came with the object. Called by its
        holder.

        At 0 the object lets go of its outside resource, once.

        :returns: the new count, fit for tests only; the IDL gives this method no HRESULT.
        :raises COMError: ``E_UNEXPECTED``, the count had reached 0 before.
        """


def iid(interface: COMInterfaceClass) -> UUID:
    """Return the IID of *interface*: its own, never that of its base.

    :raises LookupError: the interface has none (those of other SDKs of which only the name is needed).
    """
    found: object = cast("Any", interface).queryDirectTaggedValue("iid")
    if not isinstance(found, UUID):
        raise LookupError(f"{interface.__name__} has no IID: its body needs taggedValue('iid', UUID(...))")
    return found
