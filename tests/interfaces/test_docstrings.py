"""What every docstring of the contract has to say, read from the declarations and from the source of the modules."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from fwx.interfaces import COMInterfaceClass, MethodInfo, Passing, com_interfaces, constants, enums, hresult, methods, structs

INTERFACES = tuple(com_interfaces())
OWN_METHODS = [
    (interface, method) for interface in INTERFACES for method in methods(interface) if method.interface is interface
]
IMPLEMENTERS = ("implemented by", "used by", "both sides implement")
CALLERS = re.compile(r"\b(Called|Asked|Read)\b")
FACT = re.compile(r"\bB(?:[1-9]|1[0-3])\.\d{1,2}\b")
# The number of numbered facts in each of the 13 topics of the behaviour list.
FACTS = (49, 45, 40, 24, 20, 35, 22, 10, 27, 7, 16, 5, 10)


def shortcomings(method: MethodInfo, text: str) -> list[str]:
    """Return what the docstring *text* of *method* fails to say."""
    found = []
    if not re.match(r"[A-Z].*\.", text, re.DOTALL):
        found.append("no summary line")
    if not CALLERS.search(text):
        found.append("not who calls it and when")
    for parameter in method.parameters:
        match parameter.passing:
            case Passing.ARGUMENT | Passing.LENGTH | Passing.FILLED | Passing.BOTH:
                if f":param {parameter.name}:" not in text:
                    found.append(f"no :param {parameter.name}:")
            case Passing.RESULT_LENGTH:
                if f"*{parameter.name}*" not in text:
                    found.append(f"not *{parameter.name}*")
        if parameter.passing in (Passing.RESULT, Passing.BOTH) and f"*{parameter.name}*" not in text.split(":returns:")[-1]:
            found.append(f"not *{parameter.name}* among the results")
    outs = any(each.passing in (Passing.RESULT, Passing.BOTH) for each in method.parameters)
    if outs and not method.is_property and ":returns:" not in text:
        found.append("no :returns:")
    if ":raises COMError:" not in text and "cannot fail" not in text and not method.is_property:
        found.append("neither :raises COMError: nor that it cannot fail")
    return found
