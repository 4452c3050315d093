"""Resources of the OpenAI wire that judge texts: moderations, and rerank as Cohere and Jina have it.

A text is flagged when it speaks of an attack; a document is relevant as far as it shares words with the query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from simulator import content
from simulator.wire.base import Voice, json_answer, missing, positive, text_of

if TYPE_CHECKING:
    from simulator.script import Answer

FLAGGED_WORD = "attack"
_TEXT_ONLY = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "sexual/minors",
)
_TEXT_AND_IMAGE = (
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "violence",
    "violence/graphic",
)
_CATEGORIES = (*_TEXT_ONLY, *_TEXT_AND_IMAGE)


def moderate(document: Any, voice: Voice) -> Answer:
    asked = document.get("input")
    if not asked:
        raise missing("input")
    # A string, a list of strings, or a list of parts that make one input.
    several = isinstance(asked, list) and isinstance(asked[0], str)
    results = [_judged(text_of(one)) for one in (asked if several else [asked])]
    answer = {"id": voice.ident("modr-"), "model": document["model"], "results": results}
    return json_answer(answer, voice.whole_delay(1))


def _judged(text: str) -> dict[str, Any]:
    flagged = FLAGGED_WORD in text.lower()
    scores = dict.fromkeys(_CATEGORIES, 0.0001)
    if flagged:
        scores["violence"] = 0.9
    applied = {name: ["text"] for name in _CATEGORIES}
    return {
        "flagged": flagged,
        "categories": {name: score > 0.5 for name, score in scores.items()},
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def rerank(document: Any, voice: Voice) -> Answer:
    query = document.get("query")
    if not isinstance(query, str) or not query:
        raise missing("query")
    documents = document.get("documents")
    if not isinstance(documents, list) or not documents:
        raise missing("documents")
    texts = [text_of(one) for one in documents]
    most = positive(document.get("top_n"), "top_n") or len(texts)
    scores = sorted(((_relevance(query, text), -index) for index, text in enumerate(texts)), reverse=True)
    results: list[dict[str, Any]] = [{"index": -index, "relevance_score": score} for score, index in scores[:most]]
    if document.get("return_documents"):
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    answer: dict[str, Any] = {"id": voice.ident("rerank-"), "model": document["model"], "results": results}
    if voice.behaviour.usage:
        tokens = content.tokens_of(query, *texts)
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_answer(answer, voice.whole_delay(1))


def _relevance(query: str, text: str) -> float:
    """The share of the query's words that the text has, and a little that depends on the text alone."""
    wanted = set(query.lower().split())
    shared = len(wanted & set(text.lower().split())) / max(1, len(wanted))
    return round(0.9 * shared + 0.1 * (crc32(text.encode("utf-8", "surrogatepass")) % 1000) / 1000, 4)
