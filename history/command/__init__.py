"""``manage.py history``: what the API tells of the history, in a terminal. A module for each of its commands.

They ask the same functions as the API and take the same filters; ``options`` reads them, ``table`` draws. What is asked
for goes to stdout, what is said about it to stderr, so that a pipe gets rows alone.
"""
