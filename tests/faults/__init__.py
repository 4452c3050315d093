"""The fault suite: what providers, clients and processes do wrong, over real sockets, and what must come of it.

``make test-faults`` runs it: everything marked ``faults``, wherever it lives. ``rows`` is the table of what must hold
and which tests prove it; a test holds the table to the truth. Tests assert counts and states; times are measured by
``make bench-faults``, full sizes by ``make soak``.
"""
