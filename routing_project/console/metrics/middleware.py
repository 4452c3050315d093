"""Counting the console's requests: ours by route template, and django-prometheus's by view.

Both leave ``/metrics`` out. What they do is memory, so neither changes threads: in the asynchronous stack it is done in
the event loop.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware
from django_prometheus import middleware as theirs
from rest_framework.schemas.generators import EndpointEnumerator

from routing_project.console.metrics.counting import count_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

OWN: Final = "/metrics"
OTHER: Final = "other"
#: Routes that take what no other takes: the admin's, and the API's for its own 404.
CATCH_ALL: Final = ("(?P<url>.*)$", "^(?:api|events|webhook)/")
#: Of django-prometheus, what says nothing here.
LEFT_OUT: Final = frozenset(
    {
        "django_http_ajax_requests_total",
        "django_http_requests_body_total_bytes",
        "django_http_requests_unknown_latency_including_middlewares_total",
        "django_http_requests_unknown_latency_total",
        "django_http_responses_body_total_bytes",
        "django_http_responses_streaming_total",
        "django_http_responses_total_by_charset",
        "django_http_responses_total_by_templatename",
    }
)


_paths: Final = EndpointEnumerator(patterns=[])


@lru_cache(maxsize=4096)
def template(route: str) -> str:
    """A route as people read it: ``/api/v1/providers/{pk}/``. There are as many as Django has routes."""
    return OTHER if route.endswith(CATCH_ALL) else str(_paths.get_path_from_regex(route))


@sync_and_async_middleware
def count_requests(get_response: Callable[..., object]) -> Callable[..., object]:
    """Count by route template."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            begun = time.perf_counter()
            response = await cast("Awaitable[HttpResponseBase]", get_response(request))
            return _count(request, response, begun)

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        return _count(request, cast("HttpResponseBase", get_response(request)), begun)

    return synchronous


def _count(request: HttpRequest, response: HttpResponseBase, begun: float) -> HttpResponseBase:
    """Now; of an answer that is made while it is sent, when that is over. The handler closes such an answer at its end
    and when the client leaves, read or not; at an error it does not, which is up to the answer (``Download``)."""
    if request.path == OWN:
        return response
    match = request.resolver_match
    method, endpoint, status = request.method, template(match.route) if match else OTHER, response.status_code

    def over() -> None:
        count_answer(method, endpoint, status, time.perf_counter() - begun)

    if response.streaming:
        # What Django itself closes with an answer, each once; the answer's own come first.
        response._resource_closers.append(over)  # type: ignore[attr-defined]
    else:
        over()
    return response


class _Unkept:
    """A metric that is not kept."""

    def labels(self, **_labels: str) -> _Unkept:
        return self

    def inc(self) -> None:
        pass

    def observe(self, _value: float) -> None:
        pass


class Metrics(theirs.Metrics):  # type: ignore[misc]  # it has no types
    def register_metric(self, metric_cls: Any, name: str, *given: Any, **named: Any) -> Any:
        return _Unkept() if name in LEFT_OUT else super().register_metric(metric_cls, name, *given, **named)


class _InTheLoop:
    """What is done before and after a view, without the thread that Django would do it in."""

    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]
    process_request: Callable[[HttpRequest], None]
    process_response: Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]

    def __call__(self, request: HttpRequest) -> Any:
        """Scrapes are not counted."""
        return self.get_response(request) if request.path == OWN else super().__call__(request)  # type: ignore[misc]

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        return self.process_response(request, await self.get_response(request))


class CountBefore(_InTheLoop, theirs.PrometheusBeforeMiddleware):  # type: ignore[misc]
    metrics_cls = Metrics


class CountAfter(_InTheLoop, theirs.PrometheusAfterMiddleware):  # type: ignore[misc]
    metrics_cls = Metrics

    def __init__(self, get_response: Callable[..., object]) -> None:
        super().__init__(get_response)
        if self.async_mode:
            # The handler asks each instance for its methods, and calls in a thread what is no coroutine.
            setattr(self, "process_view", self._process_view)  # noqa: B010
            setattr(self, "process_template_response", self._process_template_response)  # noqa: B010

    def label_metric(
        self, metric: Any, request: HttpRequest, response: HttpResponseBase | None = None, **labels: str
    ) -> Any:
        """Theirs takes the method as the client wrote it in one place."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return metric.labels(**labels) if labels else metric

    def process_view(self, request: HttpRequest, *given: Any) -> None:
        if request.path != OWN:
            super().process_view(request, *given)

    async def _process_view(self, request: HttpRequest, *given: Any) -> None:
        CountAfter.process_view(self, request, *given)

    async def _process_template_response(self, _request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response  # names of templates are left out

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if request.path != OWN:
            super().process_exception(request, exception)
