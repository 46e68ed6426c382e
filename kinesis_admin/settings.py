"""Settings, all from the environment (or a file ``.env`` beside ``manage.py``). README.md has the table of variables.

Secure unless told otherwise: DEBUG is off, cookies are for HTTPS only, and without its secrets the product does not
start.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import environ
from cryptography.fernet import Fernet
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

from kinesis_admin.logs import logging_config
from kinesis_admin.unfold import UNFOLD  # noqa: F401

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
_env_file = Path(os.environ.get("ENV_FILE") or BASE_DIR / ".env")
if _env_file.is_file():
    env.read_env(_env_file)  # what the environment already says wins

# Everything that is written beside the database: logs, sockets, collected static files; SQLite's file by default.
VAR_DIR = Path(env.str("VAR_DIR", default="") or BASE_DIR / "var")

DEBUG = env.bool("DEBUG", default=False)

# --- Secrets -------------------------------------------------------------------------------------------------------

SECRET_KEY = env.str("SECRET_KEY", default="")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
CREDENTIAL_KEYS: list[str] = env.list("CREDENTIAL_KEYS", default=[])  # Fernet keys, newest first

_missing = [name for name in ("SECRET_KEY", "CREDENTIAL_KEYS") if not globals()[name]]
if _missing:
    raise ImproperlyConfigured(
        f"Set {' and '.join(_missing)} in the environment; `make run` generates them in .env."
    )
for _key in CREDENTIAL_KEYS:
    try:
        Fernet(_key)
    except ValueError:
        raise ImproperlyConfigured(
            "CREDENTIAL_KEYS holds something that is not a Fernet key (32 bytes, URL-safe base64)."
        ) from None

# --- Application ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "django_structlog",
    "lucide",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "csp",
    "kinesis_admin",
    "access",
    "audit",
    "profiles",
    "governance",
    "destinations",
    "activation",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "kinesis_admin.middleware.PolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "access.sessions.SignedSessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "kinesis_admin.middleware.RequestLogMiddleware",
    "audit.middleware.AuditMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]

ROOT_URLCONF = "kinesis_admin.urls"
WSGI_APPLICATION = "kinesis_admin.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

ENVIRONMENT_NAME = env.str("ENVIRONMENT_NAME", default="")  # the badge in the top bar

# --- Data ----------------------------------------------------------------------------------------------------------

_sqlite_url = f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url("DATABASE_URL", default=_sqlite_url)}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # Writers queue for up to 20 s; readers never wait (WAL). IMMEDIATE: a transaction that reads first can't fail to
    # write later.
    _database["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;",
    }
    # A test database in a file, so that threads and worker processes see the same one.
    _database["TEST"] = {"NAME": env.str("TEST_SQLITE", default="") or None}
    if _database["NAME"] != ":memory:":
        Path(_database["NAME"]).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
else:
    _database["ENGINE"] = "django.db.backends.postgresql"
    # A connection that a restart of the server broke is not handed out.
    _database["CONN_HEALTH_CHECKS"] = True
    _database.setdefault("OPTIONS", {})["pool"] = {
        "min_size": 0,
        "max_size": env.int("DATABASE_POOL_SIZE", default=10),
        "timeout": 5,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Identities of one profile at most: a link that would make it more is refused (profiles/ingest.py).
IDENTITY_GRAPH_LIMIT = env.int("IDENTITY_GRAPH_LIMIT", default=150)

# How often a producer may post to an inlet, as a mean of ten seconds; 0: as often as it likes.
INLET_REQUESTS_PER_SECOND = env.int("INLET_REQUESTS_PER_SECOND", default=200)
# For how long a message that comes again is known by its `_id`.
INLET_REMEMBER_DAYS = env.int("INLET_REMEMBER_DAYS", default=7)

REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")  # redis://, rediss:// or unix://

# What the rate limits count in.
CACHES = {
    "default": {
        "BACKEND": "access.cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "kinesis-admin",
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},  # seconds
    }
}

# --- Workers -------------------------------------------------------------------------------------------------------


def _broker_url(redis_url: str) -> str:
    """``REDIS_URL`` as Celery writes it: sockets have a scheme of their own there."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    renamed = {"virtual_host" if key == "db" else key: value for key, value in parse_qsl(query)}
    return f"redis+socket://{path}" + (f"?{urlencode(renamed)}" if renamed else "")


CELERY_BROKER_URL = _broker_url(REDIS_URL)
CELERY_BROKER_CONNECTION_TIMEOUT = 2  # seconds
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for Redis for as long as it takes
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A page that wakes a task learns at once that Redis is away, and says so; it does not wait for it. A connection
    # may be a stale one from before a restart of Redis: that gets a second try.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "socket_connect_timeout": 2,
    "socket_timeout": 3,
    "socket_keepalive": True,
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=2)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    # What a dead worker left, and what was queued while Redis was away. A sweep that came late is not caught up.
    "sweep": {"task": "activation.tasks.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "look_for_alerts": {
        "task": "activation.tasks.look_for_alerts",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "send_alerts": {"task": "activation.tasks.send_alerts", "schedule": 10.0, "options": {"expires": 10}},
    "send_farewells": {
        "task": "activation.tasks.send_farewells",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "forget_alerts": {
        "task": "activation.tasks.forget_alerts",
        "schedule": 24 * 3600.0,
        "options": {"expires": 3600},
    },
    "evaluate_waiting": {
        "task": "profiles.tasks.evaluate_waiting",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "evaluate_timed": {
        "task": "profiles.tasks.evaluate_timed",
        "schedule": 900.0,
        "options": {"expires": 60},
    },
    "forget_exited": {
        "task": "profiles.tasks.forget_exited",
        "schedule": 3600.0,
        "options": {"expires": 60},
    },
    "fold_counts": {
        "task": "profiles.tasks.fold_counts",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "forget_audit": {
        "task": "audit.tasks.forget_old",
        "schedule": 24 * 3600.0,
        "options": {"expires": 3600},
    },
    "forget_sessions": {
        "task": "access.tasks.forget_sessions",
        "schedule": 3600.0,
        "options": {"expires": 60},
    },
    "forget_messages": {
        "task": "profiles.tasks.forget_messages",
        "schedule": 3600.0,
        "options": {"expires": 60},
    },
    "uploads_waiting": {
        "task": "profiles.tasks.uploads_waiting",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "expire_members": {
        "task": "profiles.tasks.expire_members",
        "schedule": 900.0,
        "options": {"expires": 60},
    },
    "forget_uploads": {
        "task": "profiles.tasks.forget_uploads",
        "schedule": 3600.0,
        "options": {"expires": 60},
    },
}
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_DEFAULT_LOG_LEVEL = logging.DEBUG  # not two lines for every sweep
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # one line a request: how it ended
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO

# --- Kinesis -------------------------------------------------------------------------------------------------------

# Hosts (`host` or `host:port`) that an account's own endpoint URL may name; none by default: only AWS itself.
KINESIS_ENDPOINT_HOSTS: list[str] = env.list("KINESIS_ENDPOINT_HOSTS", default=[])

# --- Alerts --------------------------------------------------------------------------------------------------------

# A change that has waited for so many seconds is late: within ten minutes is what AEP promises of 95 %.
ALERT_DELAY = env.int("ALERT_DELAY", default=600)
# Excluded profiles of an hour, in percent of those received: more are too many.
ALERT_SKIP_PERCENT = env.float("ALERT_SKIP_PERCENT", default=10.0)
# Hosts (`host` or `host:port`) that a webhook may name though they are private, or speak plain HTTP.
WEBHOOK_HOSTS: list[str] = env.list("WEBHOOK_HOSTS", default=[])

# --- Security ------------------------------------------------------------------------------------------------------

ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# `make run` speaks plain HTTP on loopback and turns this off; behind TLS it stays on.
HTTPS_ONLY = env.bool("HTTPS_ONLY", default=not DEBUG)
if env.bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    ALLAUTH_TRUSTED_PROXY_COUNT = 1  # the last address of X-Forwarded-For is who asks
SECURE_SSL_REDIRECT = HTTPS_ONLY
# Asked by load balancers and Prometheus over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "access.sessions"
SESSION_COOKIE_SECURE = HTTPS_ONLY
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_HTTPONLY = True  # pages carry the token themselves
CSRF_COOKIE_SAMESITE = "Lax"
if HTTPS_ONLY:
    # No other host of the domain, and no plain HTTP, can set these.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
LANGUAGE_COOKIE_SECURE = HTTPS_ONLY
X_FRAME_OPTIONS = "DENY"

# --- Signing in (allauth) --------------------------------------------------------------------------------------------

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "account_login"
AUTHENTICATION_BACKENDS = ["access.backends.Backend"]
ACCOUNT_ADAPTER = "access.adapters.AccountAdapter"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS_ONLY else "http"
ACCOUNT_EMAIL_NOTIFICATIONS = True  # of a new password, a second factor that came or went
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Kinesis Admin] "
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # nobody makes us write to strangers
ACCOUNT_EMAIL_VERIFICATION = "none"  # administrators vouch for addresses
ACCOUNT_FORMS = {"login": "access.forms.SignInForm"}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
# A failed sign-in counts for its address (a minute) and for the name that was tried (five minutes).
ACCOUNT_RATE_LIMITS = {"login_failed": "20/m/ip,5/5m/key"}
ACCOUNT_SESSION_REMEMBER = True  # for SESSION_COOKIE_AGE
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
MFA_ADAPTER = "access.adapters.SecondFactorAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "Kinesis Admin"
MFA_TOTP_TOLERANCE = 1
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS_ONLY  # on loopback
USERSESSIONS_TRACK_ACTIVITY = False  # no write for every page

# Single sign-on with an OpenID Connect provider; none by default. Only people who have an account get in.
OIDC_ISSUER = env.str("OIDC_ISSUER", default="").rstrip("/")
SOCIALACCOUNT_ADAPTER = "access.adapters.SingleSignOnAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        # Whether the provider's addresses are to be believed even if it does not say `email_verified`.
        "VERIFIED_EMAIL": env.bool("OIDC_TRUST_EMAILS", default=False),
        "APPS": [
            {
                "provider_id": "sso",
                "name": env.str("OIDC_NAME", default="Single sign-on"),
                "client_id": env.str("OIDC_CLIENT_ID", default=""),
                "secret": env.str("OIDC_CLIENT_SECRET", default=""),
                "settings": {"server_url": OIDC_ISSUER},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# --- What a page may load and do -------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the code that an authenticator app scans
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        # Chromium asks this of redirects after a form, too.
        "form-action": [SELF, *([_origin(OIDC_ISSUER)] if OIDC_ISSUER else [])],
    }
}
# Alpine.js in the Django admin (unfold) evaluates what stands in attributes.
ADMIN_CONTENT_SECURITY_POLICY = {
    "script-src": [SELF, UNSAFE_INLINE, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}
PERMISSIONS_POLICY = (
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), "
    "publickey-credentials-create=(self), publickey-credentials-get=(self)"
)

# How often an API token may be used; 0: as often as it likes.
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=600)

# A form over 2,000 attributes still comes through, to be refused in words.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "profiles.uploads.files.LimitedUploadHandler",
]

# --- Audit ----------------------------------------------------------------------------------------------------------

# For how long the trail is kept. The database refuses to delete what is younger than a year.
AUDIT_DAYS = env.int("AUDIT_DAYS", default=365)
if AUDIT_DAYS < 365:
    raise ImproperlyConfigured("AUDIT_DAYS is 365 or more: the database keeps the audit trail for a year.")

# --- Monitoring -----------------------------------------------------------------------------------------------------

# Who may read /metrics: whoever has this bearer token; without one, only this machine.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# --- Languages and time --------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_TZ = True
USE_THOUSAND_SEPARATOR = True

# --- Static files --------------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
_testing = "pytest" in sys.modules
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or _testing
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG or _testing

# --- Mail and logs -------------------------------------------------------------------------------------------------

ADMINS = [("", address) for address in env.list("ADMINS", default=[])]  # who gets a mail of every 500
DEFAULT_EXCEPTION_REPORTER_FILTER = "kinesis_admin.errors.NothingSecret"
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="kinesis-admin@localhost")

LOGGING = logging_config(
    level=env.str("LOG_LEVEL", default="INFO"), json=env.str("LOG_FORMAT", default="json") == "json"
)
