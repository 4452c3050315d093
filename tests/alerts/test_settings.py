"""Mail server and public address from the environment, and what tells a worker of new messages."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from health.alerts import tasks
from health.alerts.delivery import kick
from routing_project.env import Env, EnvError, MailServer, get_env
from tests.gateways import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", MailServer("mail.example", 25, "", "", "")),
        ("smtp+starttls://ops%40x:p%2Fw@mail.example", MailServer("mail.example", 587, "ops@x", "p/w", "starttls")),
        ("smtps://u:p@[::1]:2465/", MailServer("::1", 2465, "u", "p", "tls")),
    ],
)
def test_the_mail_server_is_one_url(monkeypatch: pytest.MonkeyPatch, url: str, server: MailServer) -> None:
    monkeypatch.setenv("SIGNALBOX_EMAIL_URL", url)
    get_env.cache_clear()
    assert get_env().email_url == server


@pytest.mark.parametrize(
    "url", ["mail.example:25", "https://mail.example", "smtp://u:pw@:25", "smtp://h:port", "smtp://h/path"]
)
def test_a_mail_server_that_cannot_be_meant_is_refused_by_name_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    (tmp_path / "secret").write_text(url)
    monkeypatch.setenv("SIGNALBOX_EMAIL_URL_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("SIGNALBOX_EMAIL_URL", "")
    get_env.cache_clear()
    with pytest.raises(EnvError, match=r"^SIGNALBOX_EMAIL_URL: ") as refused:
        get_env()
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"host": "0.0.0.0", "port": 80, "allowed_hosts": ("*", "router.example")}, "http://router.example:80"),
        ({"allowed_hosts": ("router.example",), "trusted_proxies": ("10.0.0.1/32",)}, "https://router.example"),
        ({"public_url_value": "https://x.example/signalbox/"}, "https://x.example/signalbox"),
    ],
)
def test_links_begin_with_what_people_type(settings: dict[str, Any], url: str) -> None:
    if "trusted_proxies" in settings:
        settings = {**settings, "trusted_proxies": ",".join(settings["trusted_proxies"])}
    assert Env(**settings).public_url == url


def test_an_ipv4_network_that_is_written_as_ipv6_is_itself() -> None:
    env = Env(trusted_proxies="::ffff:10.0.0.0/104, ::ffff:1.2.3.4, 2001:db8::/32", metrics_networks="::/0")  # type: ignore[arg-type]
    assert list(map(str, env.trusted_proxies)) == ["10.0.0.0/8", "1.2.3.4/32", "2001:db8::/32"]
    assert list(map(str, env.metrics_networks)) == ["::/0"]


def test_telling_a_worker_neither_waits_nor_fails_and_is_done_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released, made = threading.Event(), []

    def broker_that_hangs_and_breaks(**options: Any) -> None:
        made.append(options)
        released.wait(10)
        raise ConnectionError("the broker is away")

    def nobody_tells() -> bool:
        return not any(each.name == "alerts-kick" for each in threading.enumerate())

    wait_until(nobody_tells, 30, "whoever an earlier test began has ended")
    monkeypatch.setattr(tasks.deliver, "apply_async", broker_that_hangs_and_breaks)
    for _ in range(3):
        kick()
    wait_until(lambda: made, 10, "somebody is told")
    assert len(made) == 1
    assert made[0]["retry"] is False
    released.set()
    wait_until(nobody_tells, 10, "the thread ends")
    kick()
    wait_until(lambda: len(made) == 2, 10, "the next one is told again")
