"""Heads: backend instances that register themselves under a provider and stay targets as long as they are heard of.

Who they are is in the database and acts through the overlay; how they are (load, draining, alive) is in the live state
of each host and never waits for a database. ``actions`` writes the first, ``liveness`` the second; ``service`` is
what REST, sockets and webhooks call. Imports the rest of ``health`` and ``routes``.
"""
