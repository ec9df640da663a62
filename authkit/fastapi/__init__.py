"""Protects FastAPI apps: dependencies, answers to refused requests, and a list of what is open."""

from __future__ import annotations

from authkit.fastapi.auth import Auth
from authkit.fastapi.guard import Guard
from authkit.fastapi.openapi import describe_security
from authkit.fastapi.overrides import SignedIn
from authkit.fastapi.problems import AuthProblem, problem_response
from authkit.fastapi.unprotected_routes import UnprotectedRoute

__all__ = [
    "Auth",
    "AuthProblem",
    "Guard",
    "SignedIn",
    "UnprotectedRoute",
    "describe_security",
    "problem_response",
]
