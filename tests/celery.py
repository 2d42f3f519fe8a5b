"""The Celery app of the tests; its messages stay in memory unless a test starts a worker."""

from celery import Celery

app = Celery("tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
app.autodiscover_tasks()
