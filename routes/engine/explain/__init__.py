"""Explaining decisions: packing one small for the journal, telling it again from its revision in JSON and in plain
words, and running it again against that or any other revision. Imports the engine only.
"""

from routes.engine.explain.describe import describe, render
from routes.engine.explain.pack import RECORDED_PLACES, VERSION, pack_decision, request_of, unpack_decision
from routes.engine.explain.replay import Replay, Replayed
from routes.engine.explain.rules import report, undecidable
from routes.engine.explain.sentences import attempt_sentences, decision_sentences, sentences
from routes.engine.explain.what_if import WhatIf

__all__ = [
    "RECORDED_PLACES",
    "VERSION",
    "Replay",
    "Replayed",
    "WhatIf",
    "attempt_sentences",
    "decision_sentences",
    "describe",
    "pack_decision",
    "render",
    "report",
    "request_of",
    "sentences",
    "undecidable",
    "unpack_decision",
]
