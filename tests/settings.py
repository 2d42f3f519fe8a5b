"""Django settings of the tests. Everything runs on a real PostgreSQL with pgvector."""

import json
import os
import tempfile

import dj_database_url

from tests import postgres

SECRET_KEY = "tests"
USE_TZ = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
DATABASES = {"default": dj_database_url.parse(postgres.url())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = os.path.join(tempfile.gettempdir(), "cardigan-tests-media")
MEDIA_URL = "media/"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "cardigan_reco",
    "tests.testapp",
    "tests.testapp.catalogue",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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

CARDIGAN_RECO = {
    "ENCODERS": {
        "default": {
            "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
            "OPTIONS": {"dimensions": 16},
        },
    },
    "COLLECTIONS": {
        "similar": "testapp.ProductImageEmbedding",
        "posters": "testapp.PosterEmbedding",
    },
}

CELERY_BROKER_URL = "memory://"

# What a test changes in the processes that it starts: tests/processes.py.
globals().update(json.loads(os.environ.get("CARDIGAN_TESTS_SETTINGS", "{}")))
