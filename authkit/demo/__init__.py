"""A protected app, an issuer and real requests between them: `authkit demo`."""

from __future__ import annotations

from authkit.demo.run import Result, run_demo, serve_demo

__all__ = ["Result", "run_demo", "serve_demo"]
