"""Facts of a request: what conditions, scenarios and strategies may know of it. Pure; nothing here raises on a request.

``catalogue`` is the vocabulary, ``live`` works facts out when they are asked for, ``body`` reads the wire formats,
``recorded`` keeps and reads back what history may keep, ``calibration`` corrects estimates for cost.
"""

from routes.engine.facts.body import TEXT_OPERATIONS
from routes.engine.facts.calibration import Calibration
from routes.engine.facts.catalogue import CATALOGUE, OPERATORS, FactSpec, Operator
from routes.engine.facts.given import check_given
from routes.engine.facts.live import Facts, KeyFacts
from routes.engine.facts.recorded import UNKNOWN, RecordedFacts, Unknown, record
from routes.engine.facts.scenario import ScenarioSettings

__all__ = [
    "CATALOGUE",
    "OPERATORS",
    "TEXT_OPERATIONS",
    "UNKNOWN",
    "Calibration",
    "FactSpec",
    "Facts",
    "KeyFacts",
    "Operator",
    "RecordedFacts",
    "ScenarioSettings",
    "Unknown",
    "check_given",
    "record",
]
