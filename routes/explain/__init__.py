"""Explaining on demand: what the pipeline would do, or did, with one request, and why. Changes nothing.

REST, the command ``explain_route`` and the console's page all call ``explain``; they only read what it is given and
draw what it answers. History is asked through ``routes.ports``. Must not import the API, the admin or history.
"""

from routes.explain.documents import ExplainRequest, parse
from routes.explain.service import explain

__all__ = ["ExplainRequest", "explain", "parse"]
