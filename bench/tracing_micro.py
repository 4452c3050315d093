"""What traces cost the gateway per request: ``python -m bench.tracing_micro``.

Microseconds, the best of 400 short rounds: what it costs when nothing else runs. What is off is one look at a field.
"""

from __future__ import annotations

from bench.micro import best
from history.ids import new_id
from history.records import Finished, encode
from routes.gateway.exchange import Exchange
from routes.gateway.intake import index_headers
from routes.gateway.tracing import Sampler, Tracing

ROUNDS, CALLS = 400, 20
PLAIN = [(b"host", b"localhost"), (b"authorization", b"Bearer key"), (b"content-type", b"application/json")]
TRACED = [*PLAIN, (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
STATED = [*TRACED, (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")]


def main() -> None:
    tracing = Tracing(Sampler(parent_based=True, ratio=1.0))
    for name, headers in (("none sent", PLAIN), ("traceparent", TRACED), ("and tracestate", STATED)):
        exchange = Exchange(new_id().bytes, "", 0.0, 0, "POST", "/v1/chat/completions", b"", headers)
        index = index_headers(headers)
        join = best(lambda exchange=exchange, index=index: tracing.join(exchange, index), ROUNDS, CALLS)  # type: ignore[misc]
        assert exchange.trace is not None
        tell = best(lambda trace=exchange.trace: trace.traceparent(1), ROUNDS, CALLS)  # type: ignore[misc]
        print(f"{name:15} {join:5.2f} to find the trace, {tell:5.2f} for each attempt's traceparent")
    route = new_id().bytes
    without, with_it = Finished(route, "routed"), Finished(route, "routed", trace=bytes(24))
    writing = best(lambda: encode(with_it), ROUNDS, CALLS) - best(lambda: encode(without), ROUNDS, CALLS)
    print(f"{'record':15} {writing:5.2f} to write where it belongs")


if __name__ == "__main__":
    main()
