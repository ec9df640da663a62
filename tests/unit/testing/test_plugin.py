"""The pytest plugin: one line in conftest.py, and everything is there."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

import authkit

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["authkit.testing.plugin"]'


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose root conftest.py has the one line."""
    monkeypatch.setenv("PYTHONPATH", str(Path(authkit.__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    return pytester


def _run(project: pytest.Pytester) -> pytest.RunResult:
    # Another process, as for a user: nothing of authkit has been imported before.
    return project.runpytest_subprocess("-q", "-W", "error", "-p", "no:cacheprovider")


def test_the_fixtures_work_together(project: pytest.Pytester) -> None:
    """They agree on the time, which passes only when told to, and nothing outlives its test."""
    project.makepyfile(
        test_verifying="""
        import pytest

        from authkit import NoRevocation, Verifier
        from authkit.errors import TokenExpired


        @pytest.fixture
        def anyio_backend():
            return "asyncio"


        def verifier(local_issuer, audit_sink, **options):
            return Verifier(
                local_issuer.trusted(), revocations=NoRevocation(), audit=audit_sink, **options
            )


        @pytest.mark.anyio
        async def test_on_the_manual_clock(local_issuer, audit_sink, authkit_clock):
            token = local_issuer.token(expires_in=60)
            async with verifier(local_issuer, audit_sink, clock=authkit_clock) as v:
                await v.verify(token)
                authkit_clock.advance(70)
                with pytest.raises(TokenExpired):
                    await v.verify(token)
            await audit_sink.wait_for(code="token_expired")


        @pytest.mark.anyio
        async def test_on_the_machines_clock(local_issuer, audit_sink):
            async with verifier(local_issuer, audit_sink) as v:
                await v.verify(local_issuer.token())


        KEYS = []


        @pytest.mark.parametrize("run", [1, 2])
        def test_issuers_are_separate_and_share_a_key(local_issuer, run):
            KEYS.append(local_issuer.signing_key)
            assert KEYS[0] is KEYS[-1]
            local_issuer.rotate()
            assert local_issuer.signing_key is not KEYS[0]
        """,
        test_signing_in="""
        from typing import Annotated

        from fastapi import Depends, FastAPI
        from fastapi.testclient import TestClient

        from authkit import Principal
        from authkit.fastapi import Auth

        auth, app = Auth(), FastAPI()
        client = TestClient(app)


        @app.get("/")
        async def me(caller: Annotated[Principal, Depends(auth.require(max_age_seconds=60))]):
            return caller.subject


        def test_callers(sign_in, authkit_clock):
            sign_in(app, auth, "alice")
            assert client.get("/").json() == "alice"
            sign_in(app, auth, "bob")
            assert client.get("/").json() == "bob"
            authkit_clock.advance(61)
            assert client.get("/").status_code == 401


        def test_the_next_one(sign_in):
            assert app.dependency_overrides == {}
        """,
    )
    _run(project).assert_outcomes(passed=6)


def test_a_failing_contract_shows_what_was_compared(project: pytest.Pytester) -> None:
    """The suites' assertions are rewritten, although they live in an installed package."""
    project.makepyfile(
        """
        import sys

        import authkit.testing.contracts


        def test_rewritten():
            suite = sys.modules["authkit.testing.contracts.backend"]
            assert "@pytest_ar" in vars(suite), sorted(vars(suite))
        """
    )
    _run(project).assert_outcomes(passed=1)


def test_there_is_no_entry_point() -> None:
    """An installed authkit does not show up in the runs of projects that do not ask for it."""
    plugins = entry_points(group="pytest11")
    assert not [one for one in plugins if one.value.startswith("authkit")]
