"""IFWXRadiusAuthenticator: filters have users authenticated by the service's RADIUS servers (B5.4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from fwx.impl.boundary import attempt
from fwx.impl.loopthread import on_loop
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXAuthenticationCompletion, IFWXRadiusAuthenticator
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, COMError

if TYPE_CHECKING:
    from fwx.impl.authentication import Checked, IRadiusUsers
    from fwx.impl.engine import Engine
    from fwx.impl.strand import Strand

ERROR_LOGON_FAILURE: Final = 1326
"""``Win32ErrorCode``: the user is unknown, or the password is wrong."""

ERROR_NO_LOGON_SERVERS: Final = 1311
"""``Win32ErrorCode``: nobody could say; no server answers, or the service does not ask for now."""


@implementer(IFWXRadiusAuthenticator)
class FWXRadiusAuthenticator(Unknown):
    """Made by ``IFWXFirewall2.CreateRadiusAuthenticator``, for any number of users. It uses the directories of the kind
    ``radius`` in the configuration's order, with their memory and their limits on wrong passwords.
    """

    __slots__ = ("_engine", "_users")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, engine: Engine, users: IRadiusUsers) -> None:
        self._engine = engine
        self._users = users

    def AuthenticateRadiusUser(
        self,
        bstrUserName: str,
        bstrUserPassword: str,
        pIFWXAuthenticationCompletion: IFWXAuthenticationCompletion,
        UserData: object,
    ) -> None:
        """Start the authentication; ``CompleteAsyncAuthentication`` is called once, later, on the loop thread, or for a
        blocking filter where its calls are. Any thread may call.

        :raises COMError: ``E_POINTER`` no name, password or completion; ``E_INVALIDARG`` something else;
            ``FWX_E_TERMINATING`` the service stops.
        """
        for value, name in ((bstrUserName, "name"), (bstrUserPassword, "password")):
            if value is None:
                raise COMError(E_POINTER, f"a {name} is needed")
            if not isinstance(value, str):
                raise COMError(E_INVALIDARG, f"the {name} is {type(value).__name__}, not a text")
        completion = pIFWXAuthenticationCompletion
        if completion is None:
            raise COMError(E_POINTER, "AuthenticateRadiusUser needs a completion")
        if not IFWXAuthenticationCompletion.providedBy(completion):
            raise COMError(E_INVALIDARG, f"an IFWXAuthenticationCompletion is needed, not {type(completion).__name__}")
        try:
            password = bstrUserPassword.encode()
        except UnicodeEncodeError:
            raise COMError(E_INVALIDARG, "the password has characters that UTF-8 has not") from None
        complete = partial(self._complete, self._engine.strands.current, completion, UserData)
        on_loop(self._engine.queue, self._users.check, bstrUserName, password, complete)

    def _complete(self, strand: Strand | None, completion: Any, user_data: object, result: Checked) -> None:
        code = 0
        if result.user is None:
            code = ERROR_LOGON_FAILURE if result.counts else ERROR_NO_LOGON_SERVERS
        outcome = result.user is not None, code, result.user, user_data
        failed = partial(self._engine.faults.report, type(completion).__name__, "CompleteAsyncAuthentication")
        if strand is not None:
            strand.tell(completion, "CompleteAsyncAuthentication", outcome, failed)
            return
        _, error = attempt(completion, "CompleteAsyncAuthentication", *outcome)
        if error is not None:
            failed(error)
