"""Alerts: rules on events, told to channels. Events become deliveries in the database; Celery sends them.

``events`` says what happened, ``matching`` which rules care and how often, ``formats`` what a channel is told,
``delivery`` and ``sending`` bring it there. ``actions`` are the writes of people.
"""
