"""The demo of a fresh installation: three simulated providers, a profile, an access key; and its removal.

Everything goes through the same actions as an admin's own edits. ``<data>/demo.json`` names the simulated
providers and their ports; ``serve`` runs them while the file is there.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from routes.actions import audit
from routes.actions.access_keys import new_value, revoke_access_key
from routes.actions.profiles import delete_profile
from routes.actions.providers import delete_provider
from routes.actions.revisions import pending_changes, publish
from routes.actions.transfer import import_configuration
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
    """Load and publish the demo; returns what the operator is told: the key appears here and nowhere else."""
    control_port, *ports = _free_ports(1 + len(PROVIDERS))
    providers = [
        {"name": slug, "wire": wire, "port": port, "behaviour": behaviour}
        for (slug, _name, wire, _weight, behaviour), port in zip(PROVIDERS, ports, strict=True)
    ]
    # The file first: were it missing, nobody would ever start the providers that the database names.
    path = announce.demo_path(env)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"control_port": control_port, "providers": providers}, indent=2) + "\n")
    temporary.replace(path)
    key = new_value()
    import_configuration(document(ports, key), actor=actor, publish_now=True, message="The demo")
    return {"access_key": key, "model": MODEL}


def remove(env: Env, actor: Actor) -> bool:
    """Take the demo out again: its providers, their places in profiles, a profile that has nothing else, its key.

    True when that was published too; not when other changes wait in the draft, which are not ours to publish.
    ``serve`` ends the simulated providers. Raises ActionError, for instance while another key uses the profile.
    """
    slugs = {each["name"] for each in announce.demo(env).get("providers", [])}
    with audit.in_turn():
        alone = not pending_changes()
        for key in AccessKey.objects.filter(name=KEY_NAME):
            revoke_access_key(key, actor=actor)
        for profile in Profile.objects.filter(targets__provider__slug__in=slugs).distinct():
            if not profile.targets.exclude(provider__slug__in=slugs).exists():
                delete_profile(profile, actor=actor)
        for provider in Provider.objects.filter(slug__in=slugs):
            delete_provider(provider, actor=actor, remove_from_profiles=True)
        if alone:
            publish(actor=actor, message="The demo removed")
    announce.demo_path(env).unlink(missing_ok=True)
    return alone


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
