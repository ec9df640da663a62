"""What becomes of a backend's exceptions: outages, counted by interface."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from collections import Counter
from typing import NoReturn

from authkit.errors import BackendUnavailable

__all__ = ["BackendErrors"]


class BackendErrors:
    """Counts what the backends raise, and passes it on as an outage.

    Attributes:
        counts: how often each interface did not answer.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def outage(self, interface: str, error: BaseException) -> BackendUnavailable:
        """The outage that `error` amounts to: itself, if it is one."""
        self.counts[interface] += 1
        if isinstance(error, BackendUnavailable):
            return error
        # The name of its type alone: a foreign message may quote what it was given.
        return BackendUnavailable(interface, f"failed with {type(error).__name__}")

    def raise_outage(self, interface: str, error: Exception | CancelledError) -> NoReturn:
        """Raises the outage, caused by `error` unless it is the outage itself.

        A CancelledError is an outage where nobody has cancelled the request: something inside
        the backend was cancelled, and let it out.

        Raises:
            BackendUnavailable: it is an outage.
            CancelledError: the request was cancelled.
        """
        _raise_if_cancelled(error)
        outage = self.outage(interface, error)
        if outage is error:
            raise outage
        raise outage from error

    def pass_over(self, interface: str, error: Exception | CancelledError) -> None:
        """Counts an outage that changes nothing for the request.

        Raises:
            CancelledError: the request was cancelled.
        """
        _raise_if_cancelled(error)
        self.counts[interface] += 1


def _raise_if_cancelled(error: BaseException) -> None:
    if isinstance(error, CancelledError):
        task = current_task()
        if task is None or task.cancelling():
            raise error
