"""The Celery app of the tests; its messages stay in memory unless a test names a broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from celery import Celery

from example_shop import folder_transport  # noqa: F401  Makes folder:// known.

app = Celery("tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
app.autodiscover_tasks()


@contextmanager
def configured(**changed: object) -> Iterator[None]:
    """Changes settings of the app, by their names in lower case."""
    before = {name: app.conf[name] for name in changed}
    _change(changed)
    try:
        yield
    finally:
        _change(before)


def _change(values: Mapping[str, object]) -> None:
    app.conf.update(values)
    app._backend_cache = None  # It keeps the address that it was built with.
