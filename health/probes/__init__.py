"""Active probes: what is asked of targets that are idle or out, and what follows from the answers.

``plan`` says what there is to ask about, from the live revision; ``claims`` which of it is due, so that nobody else
asks the same; ``questions`` and ``ask`` how; ``states`` what a row of answers means; ``results`` writes all that down
and tells the live state. ``runner`` has the thread in which a worker asks, ``tick`` is what Celery calls, ``acts`` what
follows from what people do. A probe never makes or ends a quarantine. May import ``routes``, its gateway's upstream
code too; must not import history.
"""
