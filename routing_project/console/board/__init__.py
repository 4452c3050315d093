"""The health board: what state every target is in, why, when it is tried again, what was done and what can be.

``timeline`` reads events and publishes, ``rows`` puts targets in the order in which they need somebody, ``acts`` is
what an operator may do, ``pages`` answers requests, ``attention`` is what the dashboard says of it. Composes routes and
health, so it lives here and in neither.
"""
