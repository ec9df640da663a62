"""A failure is told by names of codes, and by nothing that anybody else wrote."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from authkit.key_set.causes import failure


def caused(outer: BaseException, by: BaseException) -> BaseException:
    outer.__cause__ = by
    return outer


def refused_certificate(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "secret")
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.verify_code, error.verify_message = 62, message
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "secret")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("secret"), "RuntimeError"),
        (OSError("secret"), "OSError"),
        (OSError(987654, "secret"), "OSError"),
        (REFUSED, "ConnectionRefusedError (ECONNREFUSED)"),
        (caused(ValueError("secret"), caused(OSError("x"), REFUSED)), "ValueError (ECONNREFUSED)"),
        (socket.gaierror(socket.EAI_NONAME, "secret"), "gaierror (EAI_NONAME)"),
        (socket.gaierror("secret"), "gaierror"),
        (ssl.SSLError(1, "secret"), "SSLError"),
        (
            refused_certificate("Hostname mismatch, certificate is not valid for 'secret'."),
            "SSLCertVerificationError "
            "(CERTIFICATE_VERIFY_FAILED, Hostname mismatch, verify code 62)",
        ),
        (
            refused_certificate("<secret>"),
            "SSLCertVerificationError (CERTIFICATE_VERIFY_FAILED, verify code 62)",
        ),
        (ssl.SSLCertVerificationError("secret"), "SSLCertVerificationError"),
        (
            caused(
                OSError("x"), ExceptionGroup("secret", [REFUSED, OSError(errno.ENETUNREACH, "")])
            ),
            "OSError (ECONNREFUSED, ENETUNREACH)",
        ),
    ],
    ids=repr,
)
def test_a_failure_is_told_by_its_type_and_the_codes_of_what_caused_it(
    error: BaseException, told: str
) -> None:
    """Each code once, nearest first."""
    assert failure(error) == told


def test_what_an_error_was_raised_in_the_course_of_counts_too() -> None:
    """Not every client chains its errors on purpose."""
    error = RuntimeError("secret")
    error.__context__ = REFUSED
    assert failure(error) == "RuntimeError (ECONNREFUSED)"


def test_a_chain_that_is_a_ring_or_long_ends() -> None:
    """Whatever a client has tied together."""
    first, second = RuntimeError(), OSError(errno.EPIPE, "secret")
    first.__cause__, second.__cause__ = second, first
    assert failure(first) == "RuntimeError (EPIPE)"

    last: BaseException = REFUSED
    for _ in range(100):
        last = caused(RuntimeError(), last)
    assert failure(last) == "RuntimeError"
