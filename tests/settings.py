"""The product's settings as the tests run them: SQLite in a file (real processes and threads touch it) and ``pg``.

A test that must hold on both databases says ``@pytest.mark.django_db(databases=["default", "pg"])``.
"""

from routing_project.settings import *  # noqa: F403
from routing_project.settings import COUNTED_ENGINES, SQLITE_OPTIONS
from tests.servers import FOLDER

DATABASES = {
    "default": {
        "ENGINE": COUNTED_ENGINES["django.db.backends.sqlite3"],
        "NAME": str(FOLDER / "development.sqlite3"),
        "OPTIONS": SQLITE_OPTIONS,
        "TEST": {"NAME": str(FOLDER / "test.sqlite3")},
    },
    "pg": {
        "ENGINE": COUNTED_ENGINES["django.db.backends.postgresql"],
        "NAME": "signalbox",
        "USER": "postgres",
        "HOST": str(FOLDER / "pg"),
    },
}
# The manifest storage needs collectstatic before the first page.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
