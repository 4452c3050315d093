"""The live feed: what just happened, told over Redis to whoever is watching. Nobody waits for it.

A feed is a Redis stream of at most 10,000 events, each a JSON document with a number that never goes back; a number
that is missing stands for an event that was lost. ``publisher`` is the writing side, for any process; ``reader`` fans a
feed out to the watchers of one process; ``where`` says which events a watcher wants. Needs neither Django nor the
database.
"""

from routing_project.feed.publisher import publish, published

__all__ = ["publish", "published"]
