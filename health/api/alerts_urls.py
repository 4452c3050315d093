"""Addresses of the alerts API, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from health.api.alerts import AlertChannelViewSet, AlertDeliveryViewSet, AlertOverviewView, AlertRuleViewSet
from routes.api.urls import EitherSlashRouter

router = EitherSlashRouter()
router.register("alerts/channels", AlertChannelViewSet, "alert-channel")
router.register("alerts/rules", AlertRuleViewSet, "alert-rule")
router.register("alerts/deliveries", AlertDeliveryViewSet, "alert-delivery")

urlpatterns = [
    re_path(r"^alerts/?$", AlertOverviewView.as_view(), name="alerts"),
    *router.urls,
]
