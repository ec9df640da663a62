"""Runs the demo: a real server, real requests, and a table of what came back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from authkit.demo.app import AUDIENCE, demo_app
from authkit.demo.scenario import Step, scenario
from authkit.testing import LocalIssuer, LoopbackServer
from authkit_memory import MemoryAuditSink

__all__ = ["Result", "run_demo", "serve_demo"]

_TIMEOUT_SECONDS = 10.0
_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came back for a step.

    Attributes:
        step: what was sent.
        status: the status of the answer.
        code: the code of its problem document, or None.
        microseconds: from sending it to having read the answer.
    """

    step: Step
    status: int
    code: str | None
    microseconds: float

    @property
    def is_expected(self) -> bool:
        """Whether it is what the step says."""
        return (self.status, self.code) == (self.step.status, self.step.code)


def run_demo(console: Console) -> bool:
    """Sends every request of the scenario and prints the table.

    Returns:
        Whether every answer was the expected one.
    """
    results: list[Result] = []
    with _running(port=0) as (issuer, unreachable, server, audit):
        with httpx.Client(base_url=server.url, timeout=_TIMEOUT_SECONDS) as client:
            results.extend(_send(client, step) for step in scenario(issuer, unreachable))
    console.print(_table(results))
    wrong = [result for result in results if not result.is_expected]
    console.print(
        f"{len(results) - len(wrong)} of {len(results)} answers as expected; "
        f"{len(audit.events)} events in the audit trail"
    )
    for result in wrong:
        console.print(
            f"[red]{result.step.name}: expected {result.step.status} {result.step.code or ''}, "
            f"got {result.status} {result.code or ''}[/red]"
        )
    return not wrong


def serve_demo(console: Console, port: int, until: Event | None = None) -> None:
    """Keeps the app up, and prints a token to try it with.

    Args:
        console: where it prints.
        port: on 127.0.0.1; 0 takes a free one.
        until: ends it when set; without it, an interrupt from the keyboard does.

    Raises:
        OSError: the port is taken.
    """
    with _running(port) as (issuer, _, server, _):
        token = issuer.token(scopes=["orders:read", "admin"], expires_in=_TOKEN_SECONDS)
        console.print(f"Swagger UI   {server.url}/docs", soft_wrap=True)
        console.print("A token for the next hour, to paste behind its button Authorize:")
        console.print(token, soft_wrap=True, highlight=False)
        console.print(
            f"curl -H 'Authorization: Bearer {token}' {server.url}/orders",
            soft_wrap=True,
            highlight=False,
        )
        console.print("Stop it with Ctrl-C.")
        try:
            (until or Event()).wait()
        except KeyboardInterrupt:
            console.print("stopped")


@contextmanager
def _running(
    port: int,
) -> Iterator[tuple[LocalIssuer, LocalIssuer, LoopbackServer, MemoryAuditSink]]:
    """The issuer, one that cannot be reached, the server and its audit trail."""
    issuer, unreachable = LocalIssuer(audience=AUDIENCE), LocalIssuer(audience=AUDIENCE)
    audit = MemoryAuditSink()
    with ExitStack() as stack:
        with unreachable.serving():
            pass  # It has an address from now on, where nobody listens.
        stack.enter_context(issuer.serving())
        app = demo_app(issuer, unreachable, audit)
        yield issuer, unreachable, stack.enter_context(LoopbackServer(app, port=port)), audit


def _send(client: httpx.Client, step: Step) -> Result:
    if step.before is not None:
        step.before()
    headers = {} if step.token is None else {"Authorization": f"Bearer {step.token}"}
    for _ in range(step.repeat):
        started = time.perf_counter()
        answer = client.request(step.method, step.path, headers=headers)
        microseconds = (time.perf_counter() - started) * 1e6
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return Result(
        step=step,
        status=answer.status_code,
        code=answer.json().get("code") if problem else None,
        microseconds=microseconds,
    )


def _table(results: list[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("request", "status", "code", "µs", ""):
        justify: JustifyMethod = "right" if heading in ("status", "µs") else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for result in results:
        table.add_row(
            result.step.name,
            str(result.status),
            result.code or "",
            f"{result.microseconds:,.0f}",
            "[green]ok[/green]" if result.is_expected else "[red]WRONG[/red]",
        )
    return table
