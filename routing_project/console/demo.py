"""The demo of a fresh installation: three simulated providers, a profile, an access key; and its removal.

Everything goes through the same actions as an admin's own edits. ``<data>/demo.json`` names the simulated
providers and their ports; ``serve`` runs them while the file is there.
"""

from __future__ import annotations

import json
import secrets
import socket
from typing import TYPE_CHECKING, Any

from routes import actions
from routes.models import AccessKey, ConfigRevision, Profile, Provider
from routing_project import announce

if TYPE_CHECKING:
    from routes.actions.actor import Actor
    from routing_project.env import Env

KEY_NAME = "demo"
MODEL = "gpt-4o-mini"
# slug, name, wire, weight, behaviour (see simulator.behaviour)
PROVIDERS: tuple[tuple[str, str, str, int, dict[str, Any]], ...] = (
    ("demo-north", "North (simulated)", "openai", 50, {"latency": 0.08, "jitter": 0.04, "tokens_per_second": 120}),
    ("demo-south", "South (simulated)", "openai", 30, {"latency": 0.15, "jitter": 0.1, "tokens_per_second": 80}),
    ("demo-west", "West (simulated)", "anthropic", 20, {"latency": 0.1, "jitter": 0.05, "tokens_per_second": 100}),
)


def wanted() -> bool:
    """Only an installation that nobody has touched gets the demo. Four queries at most."""
    return not any(model.objects.exists() for model in (ConfigRevision, Provider, Profile, AccessKey))


def create(env: Env, actor: Actor) -> dict[str, Any]:
    """Load and publish the demo; returns what the operator is told, the key's only appearance among it."""
    control_port, *ports = _free_ports(1 + len(PROVIDERS))
    providers = [
        {"name": slug, "wire": wire, "port": port, "behaviour": behaviour}
        for (slug, _name, wire, _weight, behaviour), port in zip(PROVIDERS, ports, strict=True)
    ]
    key = f"sbx_{secrets.token_urlsafe(32)}"
    actions.import_configuration(document(ports, key), actor=actor)
    path = announce.demo_path(env)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"control_port": control_port, "providers": providers}, indent=2) + "\n")
    temporary.replace(path)
    actions.publish(actor=actor, message="The demo")
    return {"access_key": key, "model": MODEL}


def document(ports: list[int], key: str) -> dict[str, Any]:
    """The demo as a configuration document."""
    return {
        "version": 1,
        "providers": [
            {
                "slug": slug,
                "name": name,
                "wire": wire,
                "base_url": f"http://127.0.0.1:{port}/v1",
                "network": "loopback",
                "weight": weight,
                "tags": ["demo"],
            }
            for (slug, name, wire, weight, _behaviour), port in zip(PROVIDERS, ports, strict=True)
        ],
        "profiles": [
            {
                "slug": "default",
                "name": "Default",
                "strategy": "weighted",
                "targets": [{"provider": slug} for slug, *_rest in PROVIDERS],
            }
        ],
        "access_keys": [
            {"name": KEY_NAME, "profile": "default", "value": key, "scopes": ["route", "read"], "allow": ["debug"]}
        ],
    }


def _free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on now; held together while choosing, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
