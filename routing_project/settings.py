"""Django settings of the console (control plane). Everything that varies comes from ``env``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dj_database_url

from routing_project.env import get_env
from routing_project.metrics.catalogue import DJANGO_BUCKETS

ENV = get_env()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = ENV.secret_key
DEBUG = False
ALLOWED_HOSTS = [*(ENV.allowed_hosts or (["localhost", "127.0.0.1", "[::1]"] if ENV.bound_to_loopback else []))]
ROOT_URLCONF = "routing_project.urls"
ASGI_APPLICATION = "routing_project.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    # Its only use is `runserver`, and its imports cost every other process some 25 MB.
    *(["daphne"] if "runserver" in sys.argv else []),
    "routing_project.site.ConsoleAdminConfig",
    "routing_project.console",  # before auth, two of whose commands it has in its own way
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "routes",
    "history",
    "health",
]

MIDDLEWARE = [
    "routing_project.console.requests.note_request",
    "routing_project.console.metrics.middleware.CountBefore",
    "django.middleware.security.SecurityMiddleware",
    "routing_project.security.content_security_policy",
    "routing_project.console.metrics.middleware.count_requests",
    "routing_project.console.metrics.view.answer_scrapes",  # before the check of the host
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "routing_project.console.metrics.middleware.CountAfter",
]
# -- /metrics of the control plane (django-prometheus) ----------------------------------------------
PROMETHEUS_LATENCY_BUCKETS = DJANGO_BUCKETS
# It would ask the database for migrations in every process that starts.
PROMETHEUS_EXPORT_MIGRATIONS = False
# The API accepts paths with and without the slash itself; a redirect would lose a POST's body.
APPEND_SLASH = True

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# -- database: SQLite with WAL by default, PostgreSQL in production ------------------------------
# Django's own engines, with their statements counted and timed for /metrics.
COUNTED_ENGINES = {
    f"django.db.backends.{name}": f"routing_project.database.{name}" for name in ("sqlite3", "postgresql")
}
# IMMEDIATE: a read-then-write transaction takes the write lock at its start; with Django's default (DEFERRED)
# concurrent writers fail at once with "database is locked". For the same reason ATOMIC_REQUESTS stays off.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
}
# A host that answers nothing at all is one that is away: without these libpq waits for minutes, in a thread each.
POSTGRES_OPTIONS = {"connect_timeout": 5, "tcp_user_timeout": 20_000}
# The console serves each request on a thread of its own: a connection that outlived its request would be used by nobody
# again, and stay open until Python happens to collect it.
if ENV.database_url:
    DATABASES: dict[str, Any] = {"default": {**dj_database_url.parse(ENV.database_url), "CONN_MAX_AGE": 0}}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(ENV.database_path),
            "OPTIONS": SQLITE_OPTIONS,
        }
    }
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
elif DATABASES["default"]["ENGINE"].endswith("postgresql"):
    DATABASES["default"]["OPTIONS"] = {**POSTGRES_OPTIONS, **DATABASES["default"].get("OPTIONS", {})}

for database in DATABASES.values():
    database["ENGINE"] = COUNTED_ENGINES.get(database["ENGINE"], database["ENGINE"])

CHANNEL_LAYERS = {
    "default": {
        # The default channel layer of channels-redis drops silently at 100 messages; this one does not.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [ENV.effective_redis_url], "prefix": "signalbox:channels"},
    },
}
# Sessions, cache and throttles sit on the database, so that the console works while Redis is down.
CACHES = {
    # Throttles are in it. With Django's 300 entries, so many callers would push one another's figures out.
    "default": {
        "BACKEND": "routing_project.caches.CountedDatabaseCache",
        "LOCATION": "signalbox_cache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    },
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

# A trusted proxy in front means TLS in front: cookies and links follow. Without one (a laptop, a private network)
# the same would lock everybody out. The gateway passes X-Forwarded-Proto on only from trusted proxies.
BEHIND_TLS = bool(ENV.trusted_proxies)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]  # scraped inside the network
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_TLS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# -- e-mail, for alerts; without a server none is sent ---------------------------------------------
MAIL = ENV.email_url
EMAIL_HOST = MAIL.host if MAIL else ""
EMAIL_PORT = MAIL.port if MAIL else 25
EMAIL_HOST_USER = MAIL.user if MAIL else ""
EMAIL_HOST_PASSWORD = MAIL.password if MAIL else ""
EMAIL_USE_TLS = MAIL is not None and MAIL.security == "starttls"
EMAIL_USE_SSL = MAIL is not None and MAIL.security == "tls"
DEFAULT_FROM_EMAIL = ENV.email_from

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Every process sets its own logging up before Django loads (routing_project.logs).
LOGGING_CONFIG = None

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = ENV.data / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["routes.api.parsers.LimitedJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["routes.api.auth.BearerAuthentication", "routes.api.auth.BrowserAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["routes.api.permissions.DenyAll"],
    "DEFAULT_PAGINATION_CLASS": "routes.api.pagination.CursorPages",
    "DEFAULT_THROTTLE_CLASSES": ["routes.api.throttling.CallerThrottle"],
    "DEFAULT_THROTTLE_RATES": {"caller": "1200/min", "statistics": "120/min", "export": "30/hour"},
    "EXCEPTION_HANDLER": "routes.api.errors.handler",
    "DEFAULT_METADATA_CLASS": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Signalbox",
    "DESCRIPTION": "The control API of Signalbox, the self-hosted router for LLM traffic.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "history.api.schema.add_components",
        "health.heads.schema.add_components",
        "health.api.schema.add_components",
        "routing_project.console.decisions.schema.add_components",
        "health.api.alerts_schema.add_components",
        "routes.api.schema.add_components",
    ],
}
