"""When ``serve`` says that it is ready."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from routing_project import announce
from routing_project.env import Env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Picky(BaseHTTPRequestHandler):
    """Pages for one name, as Django answers; health for every one, as a gateway does."""

    def do_GET(self) -> None:
        self.send_response(200 if "z" in self.path or self.headers["Host"] == "router.example.org" else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Picky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ("router.example.org,other.example.org", []),
        (".router.example.org", []),
        ("*,router.example.org", []),
        ("other.example.org", ["console"]),
        ("", ["console"]),
    ],
)
def test_the_console_is_asked_by_a_name_that_it_answers_to(
    names: str, missing: list[str], port: int, tmp_path: Path
) -> None:
    env = Env(data_dir=tmp_path, host="127.0.0.1", port=port, allowed_hosts=names)  # type: ignore[arg-type]
    assert announce.not_ready(env) == missing


def test_the_admin_is_named_as_people_reach_it_and_the_data_plane_as_this_machine_does(tmp_path: Path) -> None:
    first = {"admin_user": "admin", "access_key": "sbx_k", "model": "m"}
    named = Env(data_dir=tmp_path, host="0.0.0.0", port=8000, allowed_hosts="router.example.org")  # type: ignore[arg-type]
    wide = Env(data_dir=tmp_path, host="0.0.0.0", port=8000, allowed_hosts=".example.org")  # type: ignore[arg-type]
    six = Env(data_dir=tmp_path, host="::", port=8000, allowed_hosts="[::1]")  # type: ignore[arg-type]
    assert "  Admin      http://example.org:8000/admin/\n" in announce.text(wide, first)
    assert "  Admin      http://[::1]:8000/admin/\n" in announce.text(six, first)
    plain = Env(data_dir=tmp_path, host="127.0.0.1", port=8000)
    assert "  Admin      http://router.example.org:8000/admin/\n" in announce.text(named, first)
    assert "curl -i http://127.0.0.1:8000/v1/chat/completions" in announce.text(named, first)
    assert "  Admin      http://127.0.0.1:8000/admin/\n" in announce.text(plain, first)
