"""Settings of the example shop. Those of cardigan-reco are at the end."""

import os

import dj_database_url

from . import database, folder_transport, folders

DEBUG = os.environ.get("DEBUG") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "for the demo on this machine only")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

ROOT_URLCONF = "example_shop.urls"
WSGI_APPLICATION = "example_shop.wsgi.application"
DATABASES = {
    "default": {
        **dj_database_url.parse(database.url()),
        "TEST": {"NAME": "test_example_shop"},
    }
}

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = folders.MEDIA

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "example_shop.languages.AdminLocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        name: {"handlers": ["console"], "level": "INFO", "propagate": False}
        for name in ("django", "cardigan_reco")
    },
}

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL") or folder_transport.URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
if CELERY_BROKER_URL == folder_transport.URL:
    # Messages are files in one folder: enough for one machine, and nothing to install.
    folders.BROKER.mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(folders.BROKER),
        "data_folder_out": str(folders.BROKER),
        "control_folder": str(folders.BROKER / "control"),
        "store_processed": False,
    }

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "example_shop",
    "cardigan_reco",
]
CARDIGAN_RECO = {
    "ENCODERS": {
        "default": {"BACKEND": "cardigan_reco.encoders.torch.TorchEncoder", "OPTIONS": {}},
    },
    "COLLECTIONS": {"similar": "shop.ProductImageEmbedding"},
    "DUPLICATES": {"LISTINGS": "example_shop.duplicates.ProductListings"},
}
