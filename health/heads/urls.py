"""Addresses of heads, below ``/api/v1/``; each with and without a trailing slash."""

from django.urls import re_path

from health.heads.views import ApproveView, HeadListView, HeadStatusView, HeadView

urlpatterns = [
    re_path(r"^heads/?$", HeadListView.as_view(), name="heads"),
    re_path(r"^heads/(?P<head_id>[^/]+)/?$", HeadView.as_view(), name="head"),
    re_path(r"^heads/(?P<head_id>[^/]+)/status/?$", HeadStatusView.as_view(), name="head-status"),
    re_path(r"^heads/(?P<head_id>[^/]+)/approve/?$", ApproveView.as_view(), name="head-approve"),
]
