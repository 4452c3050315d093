"""How a target is chosen: pure Python, no I/O, no clock and no randomness of its own.

Imports nothing of the project and none of Django, DRF, Channels, Celery, Redis, aiohttp.
Start reading at ``pipeline.decide``; the vocabulary is in ``types``, the immutable input in ``snapshot``,
the mutable input behind the ``live.LiveState`` protocol.
"""
