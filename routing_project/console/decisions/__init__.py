"""Decisions without forwarding: ``/api/v1/decisions/`` for callers that dispatch themselves.

``service`` decides by the live revision over the host's shared live state, records through this process's journal and
hears outcomes; ``claims`` keeps what a decision holds until its outcome is known; ``documents`` says what may be sent;
``views`` and ``schema`` are the HTTP face. It needs ``routes`` and ``history`` at once, which is why it lives here.
"""
