"""Addresses of the configuration API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path
from rest_framework.routers import SimpleRouter

from routes.api.affinity import AffinityView
from routes.api.audit import AuditDetailView, AuditListView
from routes.api.configuration import AccessKeyViewSet, ProfileViewSet, ProviderViewSet
from routes.api.explain import ExplainView
from routes.api.revisions import RevisionViewSet
from routes.api.rules import RuleViewSet
from routes.api.sections import PolicyView, PricesView
from routes.api.users import RolesView, UserViewSet


class EitherSlashRouter(SimpleRouter):
    """No redirects: one would lose the body of a POST."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"


router = EitherSlashRouter()
router.register("providers", ProviderViewSet, "provider")
router.register("profiles", ProfileViewSet, "profile")
router.register("rules", RuleViewSet, "rule")
router.register("access-keys", AccessKeyViewSet, "access-key")
router.register("revisions", RevisionViewSet, "revision")
router.register("users", UserViewSet, "user")

urlpatterns = [
    *router.urls,
    re_path(r"^explain/?$", ExplainView.as_view(), name="explain"),
    re_path(r"^prices/?$", PricesView.as_view(), name="prices"),
    re_path(r"^policy/?$", PolicyView.as_view(), name="policy"),
    re_path(r"^roles/?$", RolesView.as_view(), name="roles"),
    re_path(r"^audit/?$", AuditListView.as_view(), name="audit"),
    re_path(r"^audit/(?P<id>[0-9]+)/?$", AuditDetailView.as_view(), name="audit-detail"),
    re_path(r"^affinity/?$", AffinityView.as_view(), name="affinity"),
]
