"""Settings of the shop; the folder SWAP_FOLDER holds its pictures, and what serves the shelves."""

import os
from pathlib import Path

import dj_database_url

FOLDER = Path(os.environ["SWAP_FOLDER"])
OLD, NEW = "vectors.ProductImageEmbedding", "vectors.ProductImageEmbeddingV2"

SECRET_KEY = "swap"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "swap_shop.urls"
DATABASES = {"default": {**dj_database_url.parse(os.environ["DATABASE_URL"]), "CONN_MAX_AGE": 60}}
MEDIA_ROOT = FOLDER / "media"
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "cardigan_reco",
    "tests.testapp.catalogue",
    "vectors",
]
DUMMY = {
    "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
    "OPTIONS": {"dimensions": 512},
}
NEXT = {
    "grey": {
        "BACKEND": "swap_shop.encoders.GreyEncoder",
        "OPTIONS": {"dimensions": 512, "seconds": float(os.environ["SWAP_PICTURE_SECONDS"])},
    },
    "bundled": {"BACKEND": "cardigan_reco.encoders.torch.TorchEncoder", "OPTIONS": {"threads": 1}},
}
CARDIGAN_RECO = {
    "ENCODERS": {"default": DUMMY, "next": NEXT[os.environ["SWAP_ENCODER"]]},
    # The one string.
    "COLLECTIONS": {"similar": (FOLDER / "serving").read_text()},
    "POLL_SECONDS": 1,
    "LEASE_SECONDS": 5,
}
