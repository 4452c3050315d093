"""Alerts in the console: rules and channels, what has fired, the delivery log, a test message. All act at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path
from django.views.decorators.http import require_POST

from health.admin.alert_forms import AlertChannelForm, AlertRuleForm, initial_of_channel, initial_of_rule
from health.alerts import actions, delivery
from health.alerts.formats import TEST, event_name
from health.alerts.kinds import MEASURED
from health.models import Alert, AlertChannel, AlertDelivery, AlertRule, ProviderOutage
from health.timeline import moment_of
from routes.actions.errors import ActionError, InUse, StaleVersion
from routes.admin.base import ADMIN, OPERATE, ConsoleModelAdmin, LogAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.admin.forms.base import ConsoleForm

LAST_ALERTS = 20
LAST_DELIVERIES = 10
PAGE = 50
AT_ONCE = "In force now, nothing to publish."


class RuleRow(NamedTuple):
    rule: AlertRule
    events: list[str]
    channels: list[AlertChannel]


class AlertRow(NamedTuple):
    alert: Alert
    event: str
    look: str


class DeliveryRow(NamedTuple):
    delivery: AlertDelivery
    event: str
    title: str


def delivery_row(row: AlertDelivery) -> DeliveryRow:
    return DeliveryRow(row, event_name(row.event), row.message["title"])


class LiveModelAdmin(ConsoleModelAdmin):
    """What the pages of rules and channels share: save, conflict, delete."""

    template = ""
    consequence = ""

    def make_form(self, *args: Any, **kwargs: Any) -> ConsoleForm:
        raise NotImplementedError

    def initial(self, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    def create(self, data: dict[str, Any], **kwargs: Any) -> Any:
        raise NotImplementedError

    def update(self, row: Any, data: dict[str, Any], **kwargs: Any) -> Any:
        raise NotImplementedError

    def remove(self, row: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def tree(self, row: Any) -> dict[str, Any]:
        """What the conflict page compares: no secrets."""
        raise NotImplementedError

    def more(self, row: Any) -> dict[str, Any]:
        """What else the form's page shows."""
        return {}

    def home(self) -> str:
        """The page with everything of alerts."""
        return ALERTS.format(anchor=f"#{self.opts.model_name}s")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        if request.method != "POST":
            return self._form_page(request, self.make_form(initial=self.initial(None)), None)
        form = self.make_form(request.POST)
        if form.is_valid():
            try:
                row = self.create(form.document(), actor=actor)  # type: ignore[attr-defined]
            except ActionError as error:
                form.add_document_errors(error.fields, error.message)
            else:
                messages.success(request, f"{self.word.capitalize()} {row.name} was added. {AT_ONCE}")
                return HttpResponseRedirect(self.url("change", row.pk))
        return self._form_page(request, form, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.find(unquote(object_id))
        if request.method != "POST":
            form = self.make_form(initial=self.initial(row), read_only=not request.user.has_perm(ADMIN))
            return self._form_page(request, form, row)
        actor = demand(request, ADMIN)
        form = self.make_form(request.POST, initial=self.initial(row))
        if "kind" in form.fields:
            form.fields["kind"].disabled = True
        if not form.is_valid() or "_edit" in request.POST:
            return self._form_page(request, form, row)
        changes: dict[str, Any] = form.document()  # type: ignore[attr-defined]
        try:
            self.update(row, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            row.refresh_from_db()
            open_part = {name: value for name, value in changes.items() if name not in actions.SECRETS}
            return conflict_page(self, request, row, self.tree(row), open_part)
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form, row)
        messages.success(request, f"{self.word.capitalize()} {changes['name']} was saved. {AT_ONCE}")
        return HttpResponseRedirect(request.path)

    def _form_page(self, request: HttpRequest, form: ConsoleForm, row: Any) -> HttpResponse:
        if row is not None and "kind" in form.fields:
            form.fields["kind"].disabled = True
        title = row.name if row else f"Add {self.word}"
        more = self.more(row)
        return self.page(request, self.template, title, form=form, row=row, home_url=self.home(), **more)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        row = self.find(unquote(object_id))
        used_by: list[str] = []
        if request.method == "POST":
            try:
                self.remove(row, actor=actor, version=posted_version(request))
            except InUse as error:
                used_by = error.used_by
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", row.pk))
            else:
                messages.success(request, f"{self.word.capitalize()} {row.name} was deleted.")
                return HttpResponseRedirect(self.home())
        return self.page(
            request,
            "routes/delete.html",
            f"Delete {self.word} {row.name}",
            status=409 if used_by else 200,
            name=row.name,
            version=row.version,
            refusal=f"{self.word.capitalize()} {row.name} is still used",
            used_by=[{"word": user[:1].upper() + user[1:]} for user in used_by],
            consequence=self.consequence,
            back_url=self.url("change", row.pk),
            list_url=self.home(),
            list_word="Alerts",
        )


#: Address of the page with rules, channels and what has fired.
ALERTS = "/admin/health/alertrule/{anchor}"


@admin.register(AlertRule)
class AlertRuleAdmin(LiveModelAdmin):
    word = "alert rule"
    template = "health/alert_rule_form.html"
    consequence = "Its events are told no more, at once. What it has told stays in the delivery log."

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rules = AlertRule.objects.prefetch_related("channels")
        return self.page(
            request,
            "health/alerts.html",
            "Alerts",
            rules=[RuleRow(rule, list(map(event_name, rule.events)), list(rule.channels.all())) for rule in rules],
            channels=AlertChannel.objects.all(),
            alerts=[
                AlertRow(alert, event_name(alert.kind), f"severity_{alert.severity}")
                for alert in Alert.objects.all()[:LAST_ALERTS]
            ],
            down=ProviderOutage.objects.all(),
            kept_days=delivery.kept_days(),
        )

    def make_form(self, *args: Any, **kwargs: Any) -> ConsoleForm:
        names = list(AlertChannel.objects.values_list("name", flat=True))
        return AlertRuleForm(*args, channel_names=names, **kwargs)

    def initial(self, row: AlertRule | None) -> dict[str, Any]:
        return initial_of_rule(row)

    def create(self, data: dict[str, Any], **kwargs: Any) -> AlertRule:
        return actions.create_rule(data, **kwargs)

    def update(self, row: AlertRule, data: dict[str, Any], **kwargs: Any) -> AlertRule:
        return actions.update_rule(row, data, **kwargs)

    def remove(self, row: AlertRule, **kwargs: Any) -> None:
        actions.delete_rule(row, **kwargs)

    def tree(self, row: AlertRule) -> dict[str, Any]:
        return actions.rule_tree(row)

    def more(self, row: AlertRule | None) -> dict[str, Any]:
        return {"measured": ", ".join(sorted(event_name(kind) for kind in MEASURED))}


@admin.register(AlertChannel)
class AlertChannelAdmin(LiveModelAdmin):
    word = "alert channel"
    template = "health/alert_channel_form.html"
    consequence = "Nothing is told there any more, also what still waits. Its messages stay in the delivery log."

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.test_view))
        return [path("<uuid:pk>/test/", test, name="health_alertchannel_test"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(self.home())

    def make_form(self, *args: Any, **kwargs: Any) -> ConsoleForm:
        return AlertChannelForm(*args, **kwargs)

    def initial(self, row: AlertChannel | None) -> dict[str, Any]:
        return initial_of_channel(row)

    def create(self, data: dict[str, Any], **kwargs: Any) -> AlertChannel:
        return actions.create_channel(data, **kwargs)

    def update(self, row: AlertChannel, data: dict[str, Any], **kwargs: Any) -> AlertChannel:
        return actions.update_channel(row, data, **kwargs)

    def remove(self, row: AlertChannel, **kwargs: Any) -> None:
        actions.delete_channel(row, **kwargs)

    def tree(self, row: AlertChannel) -> dict[str, Any]:
        return {name: value for name, value in actions.channel_tree(row).items() if name not in actions.SECRETS}

    def more(self, row: AlertChannel | None) -> dict[str, Any]:
        if row is None:
            return {}
        sent = [delivery_row(each) for each in row.deliveries.all()[:LAST_DELIVERIES]]
        test = row.deliveries.filter(event=TEST).first()
        return {"deliveries": sent, "last_test": test, "log_url": f"{DELIVERIES}?{urlencode({'channel': row.name})}"}

    def test_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Queue a test message; the page then shows what becomes of it."""
        actor = demand(request, OPERATE)
        channel: AlertChannel = self.find(str(pk))
        try:
            actions.send_test(channel, actor=actor)
        except ActionError as error:
            tell_refusal(request, error)
        return HttpResponseRedirect(f"{self.url('change', pk)}#test")


DELIVERIES = "/admin/health/alertdelivery/"


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(LogAdmin):
    """The delivery log, read-only: filters in the address, newest first."""

    word = "delivery"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = {name: request.GET.get(name, "").replace("\x00", "").strip() for name in ("channel", "status")}
        rows = AlertDelivery.objects.all()
        if chosen["channel"]:
            rows = rows.filter(channel_name=chosen["channel"])
        if chosen["status"] in AlertDelivery.Status.values:
            rows = rows.filter(status=chosen["status"])
        before = moment_of(request.GET.get("before", ""))
        if before is not None:
            rows = rows.filter(created_at__lt=before)
        found = list(rows[: PAGE + 1])
        query = {name: value for name, value in chosen.items() if value}
        last = found[PAGE - 1].created_at.isoformat() if len(found) > PAGE else ""
        names = set(AlertChannel.objects.values_list("name", flat=True)) | {chosen["channel"]} - {""}
        return self.page(
            request,
            "health/alert_deliveries.html",
            "Deliveries of alerts",
            rows=[delivery_row(row) for row in found[:PAGE]],
            channels=sorted(names),
            statuses=AlertDelivery.Status.choices,
            chosen=chosen,
            filtered=bool(query),
            older=f"?{urlencode({**query, 'before': last})}" if last else "",
            home_url=ALERTS.format(anchor=""),
            kept_days=delivery.kept_days(),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.find(unquote(object_id))
        return HttpResponseRedirect(DELIVERIES)
