"""The shop's Celery application: `celery -A example_shop worker --pool=solo -Q cardigan`."""

import os

from celery import Celery
from django.conf import settings

from . import database

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_shop.settings")
if not settings.configured:
    # The celery command starts here; Django's own processes have read their settings by now.
    database.ensure_running()

app = Celery("example_shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
