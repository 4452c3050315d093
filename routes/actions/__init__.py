"""Every write of configuration. Admin, API, commands and importers call the same functions, so they cannot disagree.

Each takes a keyword-only ``actor``, runs in one transaction, validates in full before it writes, leaves an audit
entry and raises an ``ActionError`` when it refuses; then nothing has changed. What acts at once reaches gateways
after the commit. Must not import admin, API, history or health.
"""

from routes.actions.access_keys import CreatedKey, create_access_key, revoke_access_key, update_access_key
from routes.actions.actor import Actor
from routes.actions.admin_states import expire_admin_states, set_admin_state
from routes.actions.affinity import drop_pins
from routes.actions.circuits import clear_quarantine, force_circuit, release_circuits, reset_circuit
from routes.actions.credentials import set_credential
from routes.actions.heads import heads_changed
from routes.actions.profiles import create_profile, delete_profile, update_profile
from routes.actions.providers import create_provider, delete_provider, update_provider
from routes.actions.revisions import document_of, live_revision, pending_changes, publish, rollback
from routes.actions.rules import create_rule, delete_rule, move_rule, update_rule
from routes.actions.sections import replace_prices, sync_prices, update_policy
from routes.actions.transfer import export_configuration, import_configuration
from routes.actions.users import (
    change_own_password,
    create_user,
    delete_role,
    delete_user,
    first_admin,
    update_user,
)

__all__ = [
    "Actor",
    "CreatedKey",
    "change_own_password",
    "clear_quarantine",
    "create_access_key",
    "create_profile",
    "create_provider",
    "create_rule",
    "create_user",
    "delete_profile",
    "delete_provider",
    "delete_role",
    "delete_rule",
    "delete_user",
    "document_of",
    "drop_pins",
    "expire_admin_states",
    "export_configuration",
    "first_admin",
    "force_circuit",
    "heads_changed",
    "import_configuration",
    "live_revision",
    "move_rule",
    "pending_changes",
    "publish",
    "release_circuits",
    "replace_prices",
    "reset_circuit",
    "revoke_access_key",
    "rollback",
    "set_admin_state",
    "set_credential",
    "sync_prices",
    "update_access_key",
    "update_policy",
    "update_profile",
    "update_provider",
    "update_rule",
    "update_user",
]
