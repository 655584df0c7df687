"""The one error that protocol code raises."""

from __future__ import annotations


class LocalProtocolError(RuntimeError):
    """We, not the peer, called a session or an exchange out of order: a defect of ours."""
