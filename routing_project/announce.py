"""When everything answers, and what ``serve`` prints then: the addresses, the first password, a curl that works.

Imported by the supervisor: must not import Django.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routing_project.env import Env

PATIENCE_SECONDS = 60.0
PROBE_SECONDS = 2.0


def demo_path(env: Env) -> Path:
    """The simulator's configuration; its presence is what makes ``serve`` start the simulated providers."""
    return env.data / "demo.json"


def address(env: Env) -> str:
    """Where people and programs on this machine reach us."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(env.host, env.host)  # noqa: S104 - read, not bound
    return f"[{host}]:{env.port}" if ":" in host else f"{host}:{env.port}"


def not_ready(env: Env) -> list[str]:
    """What does not answer yet, in the order of starting. Costs three requests at most, seconds at worst."""
    # Before the first revision /readyz says 503, rightly; then it is enough that the gateway is there.
    if not _answers(env, "/readyz" if env.revision_path.exists() else "/healthz"):
        return ["gateway"]
    if not _answers(env, "/admin/login/"):
        return ["console"]
    return [f"simulator {each['name']}" for each in demo(env).get("providers", []) if not _listens(each["port"])]


def demo(env: Env) -> dict[str, Any]:
    """``{"control_port", "providers": [{"name", "port", …}]}``; empty without a demo."""
    try:
        return dict(json.loads(demo_path(env).read_bytes()))
    except FileNotFoundError:
        return {}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(PROBE_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(env: Env, path: str) -> bool:
    host, _, port = address(env).rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PROBE_SECONDS)
    try:
        # Pages answer only to the names that people type, which the address we call need not be one of.
        connection.request("GET", path, headers={"Host": env.page_name} if env.page_name else {})
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def text(env: Env, report: dict[str, Any]) -> str:
    """What the operator reads once everything is up. ``report`` is setup's; empty for a plain ``serve``."""
    return f"\nSignalbox is ready on http://{address(env)}\n\n{credentials(env, report)}"


def credentials(env: Env, report: dict[str, Any]) -> str:
    """Where the admin is and who may enter; a first password and a first key are shown here and never again."""
    base = f"http://{address(env)}"
    # Where pages answer only to names, an address would lead to none.
    lines = [f"  Admin      {env.public_url if env.allowed_hosts else base}/admin/"]
    if report.get("admin_user"):
        lines.append(f"  User       {report['admin_user']}")
        if report.get("admin_password"):
            lines.append(f"  Password   {report['admin_password']}   (shown once)")
        else:
            lines.append(
                f"  Password   as set before; `{_manage()} changepassword {report['admin_user']}` sets a new one"
            )
    if report.get("access_key"):
        lines.append(f"  Key        {report['access_key']}   (shown once)")
    elif report:
        lines.append(f"  Key        `{_manage()} create_access_key NAME` prints a new one")
    if simulated := demo(env):
        lines.append(f"  Simulated  http://127.0.0.1:{simulated['control_port']}/   (how the demo's providers behave)")
    if env.history_payloads != "off":
        of = "every request" if env.history_payloads == "all" else "requests that fail"
        lines.append(
            f"  Payloads   prompts and answers of {of} are stored for {env.payload_days:g} days (docs/payloads.md)"
        )
    if report.get("access_key"):
        lines += ["", "Try it:", "", curl(base, report["access_key"], report["model"])]
    return "\n".join([*lines, ""])


def _manage() -> str:
    """How this installation's commands are called from here."""
    python = Path(sys.executable)
    with contextlib.suppress(ValueError):
        python = python.relative_to(Path.cwd())
    return f"{python} manage.py"


def curl(base: str, key: str, model: str) -> str:
    """One line that works as it stands in a POSIX shell."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"curl -i {base}/v1/chat/completions -H 'Authorization: Bearer {key}'"
        f" -H 'Content-Type: application/json' -d '{body}'"
    )
