"""Services: any request to ``/svc/{profile}/{path}``, passed through to a generic provider and back."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, profile, target
from tests.gateway.lab import Lab
from tests.gateway.scripted import Scripted, answer, scripted
from tests.gateway.test_metrics import scrape, total
from tests.gateways import KEY, wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Provider
    from tests.gateways import Answer, Gateways
    from tests.simulators import Simulator

#: Many of a kind.
pytestmark = pytest.mark.thorough

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")


def call(lab: Lab, method: str = "GET", path: str = "/thing", body: bytes | None = None, **headers: str) -> Answer:
    given = {"Authorization": f"Bearer {KEY}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lab.gateway.request(method, f"/svc/default{path}", body, given)


def service(lab: Lab, upstream: Scripted | None = None, **fields: Any) -> Provider:
    """A generic provider at the simulator, or at an upstream that sends what it was told."""
    made = lab.provider("generic", **fields)
    if upstream is not None:
        made.entry["base_url"] = upstream.base_url
    return made


# -- what the service receives -------------------------------------------------------------------------------
def test_every_method_is_passed_through(lab: Lab) -> None:
    with scripted(answer(b"done")) as upstream:
        lab.publish(service(lab, upstream))
        for method in METHODS:
            body = b"body" if method in ("POST", "PUT", "PATCH", "DELETE") else b""
            got = call(lab, method, "/thing", body or None)

            assert (got.status, got.body) == (200, b"" if method == "HEAD" else b"done"), method
            assert (upstream.line(), upstream.bodies[-1]) == (f"{method} /thing HTTP/1.1", body)
            assert lab.row(got).status == "routed"


def test_trace_would_show_the_gateways_credential_and_is_refused(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream))
        got = call(lab, "TRACE")

    assert (got.status, got.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in got.headers["allow"]
    assert upstream.heads == []


PATHS = [
    *("", "/", "/a", "/a/", "/a//b///c", "//a", "/a%2Fb%2fc", "/%E2%82%AC/%e2%82%ac", "/a;v=1/b", "/a:b@c!$&'()*+,="),
    *("/a%20b", "/a%00b", "/...", "/a/..b/b..", "/.a", "/v1/chat/completions", "/svc/default/x", "/~user", "/a|b^c"),
    *("/a?", "/a?x=%2F&x=1&=&y", "/a?q=a+b%20c", "/a?..%2f../..", "/?x", "?x=1", "/a?x=a?b", "/a?%ff"),
]


def test_path_and_query_arrive_as_they_were_sent(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        made = service(lab, upstream)
        made.entry["base_url"] += "/base/"
        lab.publish(made)
        for path in PATHS:
            assert call(lab, "GET", path).status == 200
            assert upstream.line() == f"GET /base{path.removesuffix('?')} HTTP/1.1"


WAYS_OUT = [
    *("/..", "/../", "/../x", "/a/../b", "/.", "/./x", "/a/.", "/%2e%2e/x", "/.%2E/x", "/%2e", "/a/%2e%2E"),
    *("/..\\x", "/a\\..\\b", "/a\\..", "/a%5c..%5Cb", "/a%2f..%2Fb", "/a%2F%2e%2e", "/..%2fx", "/..;/x", "/a/..;v=1"),
]


def test_a_path_that_would_lead_out_of_the_base_url_is_refused(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream))
        for path in WAYS_OUT:
            got = call(lab, "GET", path)
            assert (got.status, got.json()["error"]["code"]) == (404, "not_found"), path

    assert upstream.heads == []


def test_headers_of_this_hop_and_the_clients_secrets_stay_here_and_all_others_go_on(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream, headers={"X-Team": "acme"}, query={"version": "2"}, credential="sk-service"))
        got = call(
            lab,
            "POST",
            "/x?a=1",
            gzip.compress(b"packed"),
            **{
                "Connection": "X-Private",
                "X-Private": "1",
                "TE": "trailers",
                "Cookie": "a=b",
                "Via": "1.1 x",
                "X-Forwarded-For": "1.2.3.4",
                "X-Forwarded-Proto": "https",
                "Forwarded": "for=1.2.3.4",
                "X-Route-Session": "s",
                "X-Route-Tags": "t",
                "x-api-key": KEY,
                "Proxy-Authorization": "Basic eA==",
                "Content-Encoding": "gzip",
                "Content-Type": "application/x-thing",
                "If-None-Match": '"e"',
                "X-Team": "the client's",
                "Range": "bytes=0-",
                "Accept": "*/*",
                "Origin": "https://a.example",
            },
        )

    assert got.status == 200
    assert upstream.line() == "POST /x?a=1&version=2 HTTP/1.1"
    assert gzip.decompress(upstream.bodies[0]) == b"packed"
    assert upstream.headers() == {
        "host": upstream.base_url.removeprefix("http://"),
        "accept-encoding": "identity",
        "authorization": "Bearer sk-service",
        "x-team": "acme",
        "content-encoding": "gzip",
        "content-type": "application/x-thing",
        "if-none-match": '"e"',
        "range": "bytes=0-",
        "accept": "*/*",
        "origin": "https://a.example",
        "content-length": str(len(upstream.bodies[0])),
    }


def test_an_empty_body_has_a_length_only_where_one_is_expected(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream))
        for method, length in (("GET", None), ("HEAD", None), ("DELETE", None), ("POST", "0"), ("PUT", "0")):
            call(lab, method)

            assert upstream.headers().get("content-length") == length, method
            assert "transfer-encoding" not in upstream.headers()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=a"])
def test_a_body_of_any_kind_is_passed_on_and_never_looked_into(lab: Lab, kind: str) -> None:
    bodies = [b"\0\xff\r\n" * 5000, b"{not json", b'{"model": "gpt-4o",  "stream": true}', b"--a\r\n"]
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream))
        for body in bodies:
            assert call(lab, "POST", "/x", body, content_type=kind).status == 200

    assert upstream.bodies == bodies


def test_a_chunked_body_arrives_whole_with_its_length(lab: Lab) -> None:
    with scripted(answer()) as upstream:
        lab.publish(service(lab, upstream))
        with lab.gateway.connect() as connection:
            connection.sendall(
                f"POST /svc/default/x HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nTransfer-Encoding: chunked\r\n"
                "Connection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".encode()
            )
            assert b" 200 " in b"".join(iter(lambda: connection.recv(65536), b""))

    assert (upstream.bodies, upstream.headers()["content-length"]) == ([b"abcdefg"], "7")


# -- what the client receives --------------------------------------------------------------------------------
PACKED = gzip.compress(b"packed" * 100)


ANSWERS: list[tuple[bytes, int, dict[str, str], bytes]] = [
    (
        answer(bytes(range(256)), kind="image/png"),
        200,
        {"content-type": "image/png", "content-length": "256"},
        bytes(range(256)),
    ),
    (answer(b""), 200, {"content-length": "0"}, b""),
    (answer(b"not json"), 200, {"content-type": "application/json"}, b"not json"),
    (answer(b'{"error": "a word"}'), 200, {}, b'{"error": "a word"}'),
    (answer(b"<html>", kind="text/html"), 200, {"content-type": "text/html"}, b"<html>"),
    (answer(PACKED, Content_Encoding="gzip"), 200, {"content-encoding": "gzip"}, PACKED),
    (
        answer(b"part", "206 Partial Content", Content_Range="bytes 0-3/9"),
        206,
        {"content-range": "bytes 0-3/9"},
        b"part",
    ),
    (answer(b"made", "201 Created", Location="/x/1"), 201, {"location": "/x/1"}, b"made"),
    (b"HTTP/1.1 204 No Content\r\nX-Tag: 1\r\n\r\n", 204, {"x-tag": "1"}, b""),
    (b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\nContent-Length: 9\r\n\r\n', 304, {"etag": '"e"'}, b""),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        200,
        {"transfer-encoding": "chunked"},
        b"abcde",
    ),
    (answer(b'{"why": 1}', "404 Not Found"), 404, {"content-length": "10"}, b'{"why": 1}'),
    (answer(PACKED, "404 Not Found", Content_Encoding="gzip"), 404, {"content-encoding": "gzip"}, PACKED),
    (answer(b"?", "418 I'm a teapot", Content_Encoding="br"), 418, {"content-encoding": "br"}, b"?"),
    (answer(b"no", "501 Not Implemented", kind="text/plain"), 501, {"content-type": "text/plain"}, b"no"),
    (answer(b"x" * 5_000_000, "404 Not Found"), 404, {"content-length": "5000000"}, b"x" * 5_000_000),
]


def test_an_answer_arrives_unchanged(lab: Lab) -> None:
    with scripted(*[sent for sent, *_ in ANSWERS for _ in range(2)]) as upstream:
        lab.publish(service(lab, upstream))
        for sent, status, headers, body in ANSWERS:
            got = call(lab)
            again = call(lab)  # the connection was left clean

            assert (got.status, got.body) == (status, body), sent[:200]
            assert headers.items() <= got.headers.items()
            assert (again.status, again.body) == (status, body)
            row = lab.row(got)
            assert (row.http_status, row.attempt_count) == (status, 1)
            assert row.status == ("failed" if status == 501 else "routed")
            assert (row.input_tokens, row.output_tokens, row.cost_micro_usd) == (None, None, None)
    assert len(upstream.heads) == 2 * len(ANSWERS)


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"]
)
def test_connections_are_kept_behind_answers_without_a_body(lab: Lab, sent: bytes) -> None:
    with scripted(sent) as upstream:
        lab.publish(service(lab, upstream))
        for _ in range(3):
            call(lab)

    assert (len(upstream.heads), upstream.connections) == (3, 1)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_head_tells_the_length_that_get_would_have(lab: Lab, status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: 12345\r\nX-Tag: 1\r\n\r\n".encode()
    with scripted(head) as upstream:
        lab.publish(service(lab, upstream))
        for _ in range(2):
            got = call(lab, "HEAD")
            assert (str(got.status), got.body) == (status[:3], b"")
            assert (got.headers["content-length"], got.headers["x-tag"]) == ("12345", "1")

    assert upstream.connections == 1


def test_what_tells_about_the_service_is_taken_out_of_the_answer(lab: Lab) -> None:
    hop = {"Connection": "X-Hop", "X-Hop": "1", "Set-Cookie": "a=b", "Server": "x", "Alt-Svc": "h3", "X-Keep": "1"}
    with scripted(
        answer(**hop, **{"X-Route-Provider": "forged", "Strict-Transport-Security": "max-age=1"})
    ) as upstream:
        made = service(lab, upstream)
        lab.publish(made)
        got = call(lab)

    assert not got.headers.keys() & {"x-hop", "set-cookie", "server", "alt-svc", "strict-transport-security"}
    assert (got.headers["x-keep"], got.headers["x-route-provider"]) == ("1", made.slug)
    assert got.headers["x-route-attempts"] == "1"


def test_an_event_stream_is_passed_through_event_by_event(lab: Lab) -> None:
    events = b'data: {"a": 1}\n\n: comment\n\nnot an event at all\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = service(lab)
        made.entry["base_url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        lab.publish(made)
        with lab.gateway.connect() as connection:
            connection.sendall(f"GET /svc/default/events HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n".encode())
            upstream, _ = listener.accept()
            with upstream:
                upstream.recv(65536)
                upstream.sendall(head + events)
                response = http.client.HTTPResponse(connection)
                response.begin()
                assert response.read(len(events)) == events  # while the service is still at it
                upstream.sendall(b"data: last\n\n")
                assert response.read(12) == b"data: last\n\n"
            assert response.read() == b""
    wait_until(lambda: [row.status for row in lab.gateway.finished()] == ["routed"])


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ],
)
def test_a_cut_answer_ends_without_its_end_and_its_row_says_so(lab: Lab, sent: bytes) -> None:
    with scripted(sent, closes=True) as upstream:
        made = service(lab, upstream)
        lab.publish(made, service(lab))
        with lab.gateway.connect() as connection:
            connection.sendall(f"GET /svc/default/x HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            with pytest.raises(http.client.IncompleteRead) as cut:
                response.read()

    assert (response.status, cut.value.partial) == (200, b"only this")
    row = lab.row()
    assert (row.status, row.error_code, row.http_status) == ("failed", "truncated", 200)
    assert [(each.provider, each.error_class) for each in row.attempts] == [(made.slug, "truncated")]


@pytest.mark.parametrize("status", ["302 Found", "300 Multiple Choices"])
def test_a_redirect_is_never_followed_nor_shown(lab: Lab, status: str) -> None:
    with scripted(answer(b"", status, Location="http://127.0.0.1:1/secret")) as upstream:
        lab.publish(service(lab, upstream), max_attempts=1)
        got = call(lab)

    assert (got.status, got.json()["error"]["code"]) == (502, "upstream_redirect")
    assert "location" not in got.headers
    assert b"secret" not in got.body


@pytest.mark.parametrize("status", ["600 Odd", "999 None"])
def test_a_status_that_is_none_is_no_answer(lab: Lab, status: str) -> None:
    with scripted(answer(b"", status)) as upstream:
        other = service(lab)
        lab.publish(service(lab, upstream), other)

        assert call(lab).headers["x-route-provider"] == other.slug


# -- failing over --------------------------------------------------------------------------------------------
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("reset_before_headers", {}),
    ("close_before_headers", {}),
    ("status", {"status": 500}),
    ("redirect", {}),
    ("framing", {"kind": "cl_and_te"}),
]


@pytest.mark.parametrize(("fault", "options"), FAULTS)
def test_what_was_sent_moves_on_only_if_doing_it_twice_does_no_harm(
    lab: Lab, fault: str, options: dict[str, Any]
) -> None:
    bad, good = service(lab, circuit={"failure_threshold": 1000, "min_results": 1000}), service(lab)
    lab.publish(bad, good)
    bad.fail(fault, **options)
    for number, method in enumerate((*IDEMPOTENT, "POST", "PATCH"), 1):
        before = good.count
        got = call(lab, method, body=b"once" if method in ("POST", "PATCH", "PUT") else None)

        moves = method in IDEMPOTENT
        assert (got.status == 200, good.count - before) == (moves, 1 if moves else 0), method
        assert bad.count == number
        row = lab.row(got)
        assert (row.status, row.attempt_count) == (("routed", 2) if moves else ("failed", 1))


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 429)])
def test_a_rate_limit_of_a_service_is_told_where_it_may_not_move_on(lab: Lab, method: str, status: int) -> None:
    bad, good = service(lab), service(lab)
    lab.publish(bad, good)
    bad.fail("rate_limited", retry_after=7)

    got = call(lab, method)

    assert (got.status, got.headers.get("retry-after")) == (status, "7" if status == 429 else None)


def test_a_request_that_was_never_sent_always_moves_on(lab: Lab) -> None:
    bad, good = service(lab), service(lab)
    lab.publish(bad, good)
    bad.stop()
    for number, method in enumerate(("POST", "PATCH"), 1):
        assert call(lab, method, body=b"once").headers["x-route-provider"] == good.slug
        assert good.count == number


def test_a_profile_may_let_everything_move_on(lab: Lab) -> None:
    bad, good = service(lab), service(lab)
    lab.publish(bad, good, non_idempotent=True)
    bad.fail("reset_before_headers")
    for method in ("POST", "PATCH"):
        assert call(lab, method, body=b"twice").headers["x-route-provider"] == good.slug
        assert [each.requests()[-1].body for each in (bad, good)] == [b"twice", b"twice"]


@pytest.mark.parametrize(
    ("method", "times", "status"), [("POST", 1, 502), ("PATCH", 1, 502), ("PUT", 2, 200), ("GET", 2, 200)]
)
def test_a_kept_connection_that_dies_under_a_request_is_no_reason_to_do_it_twice(
    lab: Lab, method: str, times: int, status: int
) -> None:
    with scripted(answer(), b"", answer()) as upstream:
        lab.publish(service(lab, upstream), max_attempts=3)
        assert call(lab, "GET").status == 200
        got = call(lab, method, body=b"once")

    assert (got.status, upstream.bodies.count(b"once")) == (status, times)


def test_a_post_that_failed_is_told_to_the_client_and_not_repeated_on_a_second_pass(lab: Lab) -> None:
    bad = service(lab)
    lab.publish(bad, max_attempts=3, same_target_retries=2)
    bad.fail("status", status=500)

    got = call(lab, "POST", body=b"once")

    assert (got.status, got.json()["error"]["code"], bad.count) == (502, "all_targets_failed", 1)
    assert [each["error_class"] for each in got.json()["error"]["attempts"]] == ["upstream_5xx"]


def test_what_a_service_says_of_money_is_its_own_business(lab: Lab) -> None:
    said = b'{"error": {"code": "insufficient_balance", "message": "insufficient balance"}}'
    with scripted(*[answer(said, status="400 Bad Request")] * 3) as upstream:
        lab.publish(service(lab, upstream))

        got = [call(lab, "GET", "/transfers") for _ in range(3)]

    # A provider of models that said so twice would rest for half an hour.
    assert [(each.status, each.body) for each in got] == [(400, said)] * 3


def test_errors_go_the_way_the_table_says(lab: Lab) -> None:
    first, second = service(lab), service(lab)
    lab.publish(first, second)
    for status, provider in (
        (400, first),
        (404, first),
        (409, first),
        (422, first),
        (501, first),
        (502, second),
        (403, second),
    ):
        first.fail("status", status=status, times=1)
        got = call(lab)
        assert got.headers["x-route-provider"] == provider.slug, status
        assert got.status == (status if provider is first else 200)


def test_words_about_context_windows_mean_nothing_in_a_service(lab: Lab) -> None:
    first, second = service(lab), service(lab)
    lab.publish(first, second)
    first.fail("status", status=400, body='{"error": {"code": "context_length_exceeded"}}')

    assert call(lab).status == 400
    assert second.count == 0


# -- who serves what -----------------------------------------------------------------------------------------
def test_services_go_to_generic_providers_and_models_never_do(lab: Lab) -> None:
    model, generic = lab.provider(), service(lab, models={"anything": "x"})
    lab.publish(generic, model)
    assert call(lab, "POST", body=b'{"model": "gpt-4o"}').headers["x-route-provider"] == generic.slug
    assert lab.chat().headers["x-route-provider"] == model.slug
    generic.stop()
    assert call(lab).status == 502
    model.stop()
    assert lab.chat().status == 502
    assert {attempt.provider for row in lab.gateway.finished()[-1:] for attempt in row.attempts} == {model.slug}


def test_a_profile_without_a_generic_provider_has_no_services(lab: Lab) -> None:
    lab.publish(lab.provider())
    got = call(lab)

    assert (got.status, got.json()["error"]["code"]) == (404, "not_found")
    assert lab.row(got).status == "rejected"


def test_a_profile_of_services_alone_serves_no_model_and_lists_none(lab: Lab) -> None:
    lab.publish(service(lab, models={"gpt-4o": "x"}))

    assert (lab.chat().status, lab.chat().json()["error"]["code"]) == (404, "model_not_found")
    assert lab.gateway.get("/v1/models", Authorization=f"Bearer {KEY}").json()["data"] == []
    assert lab.gateway.get("/v1/models/gpt-4o", Authorization=f"Bearer {KEY}").status == 404


def test_the_profile_is_the_one_of_the_path(lab: Lab) -> None:
    one, two = service(lab), service(lab)
    lab.gateway.publish(
        document([one.entry, two.entry], [profile("one", [target(one.slug)]), profile("two", [target(two.slug)])])
    )
    auth = {"Authorization": f"Bearer {KEY}"}
    assert lab.gateway.request("GET", "/svc/two/x", headers=auth).headers["x-route-provider"] == two.slug
    got = lab.gateway.request("GET", "/svc/three/x", headers=auth)
    assert (got.status, got.json()["error"]["code"]) == (404, "profile_not_found")
    assert lab.gateway.request("GET", "/svc/two/x").status == 401
    assert lab.gateway.request("GET", "/svc/two/x", headers={"Authorization": "Bearer sbx_wrong"}).status == 401


def test_sessions_stay_with_their_service(lab: Lab) -> None:
    services = [service(lab) for _ in range(4)]
    lab.publish(*services, strategy="round_robin", of_profile={"affinity": {"enabled": True}})
    for session in ("a", "b", "c"):
        went = {call(lab, x_route_session=session).headers["x-route-provider"] for _ in range(4)}
        assert len(went) == 1, session
    assert {row.session_key for row in lab.gateway.finished()} == {"a", "b", "c"}


def test_a_drained_service_gets_nothing_more(lab: Lab) -> None:
    one, two = service(lab), service(lab)
    lab.publish(one, two)
    lab.gateway.overlay(admin_states={one.slug: "draining"})
    try:
        assert {call(lab).headers["x-route-provider"] for _ in range(3)} == {two.slug}
    finally:
        lab.gateway.overlay()
    assert one.count == 0


# -- memory and metrics --------------------------------------------------------------------------------------
def memory_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["huge_body", "endless_body"])
def test_an_answer_of_any_size_goes_through_in_little_memory(lab: Lab, fault: str) -> None:
    made = service(lab)
    lab.publish(made)
    made.fail(fault)
    pid = lab.gateway.processes[0].pid
    call(lab, "HEAD")
    before = most = memory_mb(pid)
    with lab.gateway.connect() as connection:
        connection.sendall(f"GET /svc/default/x HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n".encode())
        read = 0
        while read < 60 * 1024 * 1024:
            piece = connection.recv(1 << 20)
            assert piece
            read += len(piece)
            if read % 16 == 0:
                most = max(most, memory_mb(pid))
        most = max(most, memory_mb(pid))
    assert most - before < 16
    wait_until(lambda: len(lab.gateway.finished()) == 2)
    made.wait_for(lambda requests: requests[-1].disconnected or requests[-1].finished)


@pytest.mark.slow
def test_metrics_know_the_template_of_services_and_no_path(gateway: Gateways, simulator: Simulator) -> None:
    lab = Lab(gateway, simulator)
    lab.publish(service(lab))
    label = {"endpoint": "/svc/{profile}/{path}"}
    for path in ("/a", "/b/c?d=e", ""):
        assert call(lab, path=path).status == 200
    wait_until(lambda: total(scrape(lab.gateway), "http_requests_total", **label) == 3)
    assert not [labels for _, labels in scrape(lab.gateway) if "/b/c" in json.dumps(labels)]
    assert total(scrape(lab.gateway), "routing_decisions_total", model_type="service") == 3
