"""The audit trail: who was let in, who was refused, and what changed."""

from __future__ import annotations

from authkit.audit.chain import canonical_json, chain_event
from authkit.audit.fan_out_sink import FanOutAuditSink
from authkit.audit.file_sink import FileAuditSink
from authkit.audit.logging_sink import LoggingAuditSink
from authkit.audit.records import ControlFields, RequestRecord
from authkit.audit.trail import AuditTrail

__all__ = [
    "AuditTrail",
    "ControlFields",
    "FanOutAuditSink",
    "FileAuditSink",
    "LoggingAuditSink",
    "RequestRecord",
    "canonical_json",
    "chain_event",
]
