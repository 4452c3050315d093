"""What an upstream gets to see of a request, and a client of an answer: byte for byte but for what must change."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, head, profile, provider, target
from tests.gateway.lab import CHAT
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.lab import Lab
    from tests.simulators import Received


def sent(lab: Lab, headers: dict[str, str], body: bytes | None = None, query: str = "", **fields: Any) -> Received:
    """The request a provider with these fields received for one with these headers."""
    only = lab.provider(**fields)
    lab.publish(only)
    path = "/v1/chat/completions" + query
    raw = json.dumps(CHAT).encode() if body is None else body
    answer = lab.gateway.request("POST", path, raw, {"Authorization": f"Bearer {KEY}", **headers})
    assert answer.status == 200, answer.body
    return only.requests()[0]


def names(received: Received) -> set[str]:
    return {name.lower() for name, _ in received.headers}


def test_the_body_arrives_byte_for_byte_when_the_model_stays(lab: Lab) -> None:
    body = b' {"messages" : [{"role":"user","content":"h\\u00e9 \xe4\xbd\xa0"}] ,\n"model":"gpt-4o", "x": 1.50 }\n'

    assert sent(lab, {}, body).body == body


def test_only_the_model_changes_when_the_provider_has_a_name_of_its_own_for_it(lab: Lab) -> None:
    body = b'{"messages":[{"role":"user","content":"the \\"model\\": \\"gpt-4o\\""}],  "model" : "gpt-4o", "a":[ 1 ]}'

    received = sent(lab, {}, body, models={"gpt-4o": "acme/gpt"})

    assert received.body == body.replace(b'"model" : "gpt-4o"', b'"model" : "acme/gpt"')
    assert received.header("content-length") == str(len(received.body))


def test_a_head_gets_what_its_provider_would_and_another_head_takes_over(lab: Lab) -> None:
    one, two = lab.provider(), lab.provider()
    heads = [head("one", endpoint=one.handle.base_url), head("two", endpoint=two.handle.base_url, region="eu")]
    shared = lab.provider(credential="sk-of-the-provider", heads=heads)
    lab.publish(shared, max_attempts=2, same_target_retries=0)
    lab.gateway.hear(shared.slug, "one", "two")
    one.fail("status", status=500)
    answer = lab.chat()
    assert answer.status == 200
    assert (one.count, two.count, shared.count) == (1, 1, 0)
    assert two.requests()[0].header("authorization") == "Bearer sk-of-the-provider"
    assert two.requests()[0].header("host") == f"127.0.0.1:{two.handle.port}"
    row = lab.row(answer)
    assert [attempt.endpoint for attempt in row.attempts] == [one.handle.base_url, two.handle.base_url]
    assert (row.endpoint, row.region) == (two.handle.base_url, "eu")


def test_a_large_body_arrives_whole(lab: Lab) -> None:
    document = {"messages": [{"role": "user", "content": "x" * 3_000_000}], "model": "gpt-4o"}

    received = sent(lab, {}, json.dumps(document).encode(), models={"gpt-4o": "acme"})

    assert received.json() == {**document, "model": "acme"}


def test_headers_of_this_hop_and_the_clients_own_secrets_stay_here(lab: Lab) -> None:
    received = sent(
        lab,
        {
            "Connection": "keep-alive, X-Private, Content-Type",
            "X-Private": "1",
            "Keep-Alive": "timeout=5",
            "TE": "trailers",
            "Trailer": "X-Sum",
            "Proxy-Authorization": "Basic YTpi",
            "Cookie": "session=1",
            "Forwarded": "for=1.2.3.4",
            "Via": "1.1 proxy",
            "X-Forwarded-For": "1.2.3.4",
            "X-Forwarded-Host": "evil",
            "X-Real-IP": "1.2.3.4",
            "X-Route-Session": "s",
            "X-Route-Debug": "1",
            "Accept-Encoding": "gzip, br",
            "Accept": "application/json",
            "User-Agent": "app/1.0",
            "X-Stainless-Lang": "python",
            "OpenAI-Beta": "assistants=v2",
        },
    )

    assert names(received) == {
        "host",
        "accept-encoding",
        "content-length",
        "accept",
        "user-agent",
        "x-stainless-lang",
        "openai-beta",
    }
    assert received.header("accept-encoding") == "identity"
    assert KEY not in str(received.headers)


def test_repeated_headers_keep_their_values_and_order(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    body = json.dumps(CHAT).encode()
    with lab.gateway.connect() as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nX-Tag: a\r\nX-Other: \u00e9\r\n"
            f"X-Tag: b\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        while connection.recv(65536):
            pass

    headers = only.requests()[0].headers
    assert [value for name, value in headers if name.lower() == "x-tag"] == ["a", "b"]
    assert [value.encode("latin-1") for name, value in headers if name.lower() == "x-other"] == ["\u00e9".encode()]


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"header": "authorization", "prefix": "Bearer "}, "authorization", "Bearer sk-acme"),
        ({"header": "x-api-key", "prefix": ""}, "x-api-key", "sk-acme"),
        ({"header": "Api-Key", "prefix": ""}, "api-key", "sk-acme"),
    ],
)
def test_the_credential_goes_where_the_provider_wants_it(lab: Lab, auth: Any, name: str, value: str) -> None:
    only = lab.provider(auth=auth)
    lab.publish(only)
    lab.gateway.overlay(credentials={only.slug: "sk-acme"})

    assert lab.gateway.post("/v1/chat/completions", CHAT, api_key="the client's").status == 200
    received = only.requests()[0]
    assert [each for header, each in received.headers if header.lower() == name] == [value]
    assert not ({"authorization", "x-api-key"} - {name}) & names(received)


def test_an_edited_credential_acts_at_once(lab: Lab) -> None:
    only = lab.provider(credential="sk-new")
    lab.publish(only)
    lab.gateway.overlay(credentials={only.slug: {"value": "sk-old", "generation": 1}})
    assert lab.chat().status == 502

    lab.gateway.overlay(credentials={only.slug: {"value": "sk-new", "generation": 2}})

    assert lab.chat().status == 200


def test_headers_and_query_of_the_provider_are_added_and_win(lab: Lab) -> None:
    only = lab.provider(headers={"X-Version": "2024"}, query={"api-version": "1 &"})
    lab.publish(only)
    headers = {"Authorization": f"Bearer {KEY}", "X-Version": "the client's"}
    lab.gateway.request("POST", "/v1/chat/completions?user=a%20b&x", json.dumps(CHAT).encode(), headers)

    received = only.requests()[0]
    assert [value for name, value in received.headers if name.lower() == "x-version"] == ["2024"]
    assert received.target == "/v1/chat/completions?user=a%20b&x&api-version=1%20%26"


def test_the_host_is_the_providers(lab: Lab) -> None:
    only = lab.provider()
    only.entry["base_url"] = f"http://localhost:{only.handle.port}/v1"
    lab.publish(only)
    lab.chat()

    assert only.requests()[0].header("host") == f"localhost:{only.handle.port}"


def test_what_tells_about_the_upstream_is_taken_out_of_the_answer(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(
        headers={
            "Set-Cookie": "a=b",
            "Server": "cloudflare",
            "Alt-Svc": "h3=:443",
            "Strict-Transport-Security": "max-age=1",
            "OpenAI-Organization": "org-1",
            "OpenAI-Processing-Ms": "12",
            "X-RateLimit-Remaining-Requests": "9",
            "Anthropic-RateLimit-Requests-Limit": "9",
            "X-Route-Provider": "forged",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "CF-Ray": "7",
        }
    )

    for answer in (lab.chat(), lab.chat(stream=True)):
        assert {"openai-processing-ms", "cf-ray", "x-request-id"} <= answer.headers.keys()
        assert answer.headers["x-route-provider"] == only.slug
        assert not answer.headers.keys() & {
            "set-cookie",
            "server",
            "alt-svc",
            "strict-transport-security",
            "openai-organization",
            "x-ratelimit-remaining-requests",
            "anthropic-ratelimit-requests-limit",
            "x-hop",
        }


class Proxy:
    """An HTTP proxy that notes first lines and passes bytes on to whatever port it was told."""

    def __init__(self, port: int) -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:pass@127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, socket.create_connection(("127.0.0.1", self._port)) as upstream:
                    request = client.recv(65536)
                    self.heads.append(request.partition(b"\r\n\r\n")[0])
                    line, _, rest = request.partition(b"\r\n")
                    method, url, version = line.split(b" ")
                    path = b"/" + url.split(b"/", 3)[3]
                    upstream.sendall(b" ".join([method, path, version]) + b"\r\n" + rest)
                    client.sendall(upstream.recv(65536))

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def proxied(lab: Lab) -> Iterator[tuple[Lab, Proxy]]:
    only = lab.provider(network="public")  # a host that only the proxy can reach
    proxy = Proxy(only.handle.port)
    only.entry.update(base_url="http://acme.example/v1", proxy=proxy.url)
    lab.publish(only)
    yield lab, proxy
    proxy.close()


def test_a_request_through_a_proxy_names_its_destination(proxied: tuple[Lab, Proxy]) -> None:
    lab, proxy = proxied

    assert lab.chat().status == 200
    lines = proxy.heads[0].lower().split(b"\r\n")
    assert lines[0] == b"post http://acme.example/v1/chat/completions http/1.1"
    assert b"host: acme.example" in lines
    assert b"proxy-authorization: basic dxnlcjpwyxnz" in lines


def test_profiles_share_connections_and_credentials_stay_apart(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    second.entry["base_url"] = first.entry["base_url"]
    lab.gateway.publish(
        document(
            [first.entry, second.entry, provider("calm")],
            [profile("one", [target(first.slug)]), profile("two", [target(second.slug)])],
        )
    )
    lab.gateway.overlay(credentials={first.slug: "sk-1", second.slug: "sk-2"})

    for path in ("one", "two", "one"):
        assert lab.gateway.chat(path=f"/p/{path}/v1/chat/completions").status == 200

    assert [request.header("authorization") for request in first.requests()] == [
        "Bearer sk-1",
        "Bearer sk-2",
        "Bearer sk-1",
    ]
