"""The tables of the control plane, one concept a module."""

from routes.models.access_key import AccessKey
from routes.models.audit import AuditDelivery, AuditEntry
from routes.models.base import AppendOnlyError
from routes.models.head_set import HeadSet
from routes.models.installation import Installation
from routes.models.profile import Profile, ProfileTarget, Rule, RuleTarget
from routes.models.provider import Provider
from routes.models.revision import ConfigRevision
from routes.models.sections import Policy, PriceTable
from routes.models.target import TargetOverride

__all__ = [
    "AccessKey",
    "AppendOnlyError",
    "AuditDelivery",
    "AuditEntry",
    "ConfigRevision",
    "HeadSet",
    "Installation",
    "Policy",
    "PriceTable",
    "Profile",
    "ProfileTarget",
    "Provider",
    "Rule",
    "RuleTarget",
    "TargetOverride",
]
