"""The async face: the COM calls of sockets and data filters for people who write coroutines.

Everything here posts the operations of ``IFWXSocket`` and ``IFWXNetworkSocket`` and waits for their completions;
:mod:`fwx.sdk` exports what filters use. Coroutines run as asyncio tasks, see :class:`fwx.aio.tasks.Tasks`.
"""
