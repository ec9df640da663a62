"""The test kit: for applications that use authkit, and for backends of your own.

It loads neither pytest nor a web server until something asks for one.  The fixtures are in
`authkit.testing.plugin`, the contract suites in `authkit.testing.contracts`.
"""

from __future__ import annotations

from authkit.testing.audit import AssertingAuditSink
from authkit.testing.clock import ManualClock
from authkit.testing.local_issuer import LocalIssuer
from authkit.testing.loopback import LoopbackServer
from authkit.testing.signing_in import make_principal, signed_in

__all__ = [
    "AssertingAuditSink",
    "LocalIssuer",
    "LoopbackServer",
    "ManualClock",
    "make_principal",
    "signed_in",
]
