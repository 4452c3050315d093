"""The tables of the control plane, one concept a module."""

from routes.models.access_key import AccessKey
from routes.models.audit import AuditEntry
from routes.models.base import AppendOnlyError
from routes.models.installation import Installation
from routes.models.profile import Profile, ProfileTarget, Rule, RuleTarget
from routes.models.provider import Provider
from routes.models.revision import ConfigRevision
from routes.models.sections import Policy, PriceTable

__all__ = [
    "AccessKey",
    "AppendOnlyError",
    "AuditEntry",
    "ConfigRevision",
    "Installation",
    "Policy",
    "PriceTable",
    "Profile",
    "ProfileTarget",
    "Provider",
    "Rule",
    "RuleTarget",
]
