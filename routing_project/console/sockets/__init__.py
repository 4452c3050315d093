"""Everything the control plane serves over a connection that stays open: WebSockets under ``/ws/``, event streams under
``/events/``.

``access`` says who is there and whether a browser's page may be; ``envelope`` is the format of messages; ``base`` runs
one WebSocket; ``opened`` counts what is open and ends what may not be open any more; the other modules are one address
each. Raw ASGI on purpose: a Channels consumer needs Redis to begin, and these must work without it.
"""
