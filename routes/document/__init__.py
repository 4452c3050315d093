"""The configuration document of the contract: what it may say, its canonical form, its text."""

from routes.document.access_key import AccessKey
from routes.document.configuration import Configuration, Document
from routes.document.errors import DocumentError
from routes.document.policy import Policy
from routes.document.profile import Profile
from routes.document.provider import Credential, Price, Provider
from routes.document.rule import Rule
from routes.document.target import Target

__all__ = [
    "AccessKey",
    "Configuration",
    "Credential",
    "Document",
    "DocumentError",
    "Policy",
    "Price",
    "Profile",
    "Provider",
    "Rule",
    "Target",
]
