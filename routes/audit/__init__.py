"""The audit log below and beside its table: the chain, the file and the channel that follow it, and verifying them.

``routes.actions.audit`` writes entries; nothing here does. ``chain`` says what an entry is and how its hash comes to
be; ``delivery`` brings entries to ``file`` and ``channel``; ``verify`` looks whether anything was changed.
"""
