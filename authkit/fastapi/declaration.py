"""Makes `Depends(Auth)`, the class in place of an instance, fail where it is written."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["DependsNeedsAnInstanceOfAuth", "InstanceOnly"]


class DependsNeedsAnInstanceOfAuth:
    """A type that no request can be read into; FastAPI names it when it gives up."""


class InstanceOnly:
    """A descriptor for `__signature__`, which FastAPI reads of whatever it is to depend on.

    Depending on a class makes FastAPI call its constructor for each request: nobody would be
    asked for a token, and every caller let in.
    """

    def __get__(self, instance: object | None, owner: type[Any]) -> inspect.Signature:
        if instance is not None:
            # An instance is inspected as usual, by its `__call__`.
            raise AttributeError("__signature__")
        parameters = list(inspect.signature(owner.__init__).parameters.values())[1:]
        return inspect.Signature(
            [each.replace(annotation=DependsNeedsAnInstanceOfAuth) for each in parameters]
        )
