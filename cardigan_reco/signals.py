"""Hooks on the shop's models: a save or deletion of a source reaches the queue with it.

Where triggers capture the writes, all that is left to mark here is a new file under an old name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import NoneType
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_migrate, post_save, pre_delete, pre_save

from . import collection, conf, doorbell, queue
from .models import Embedding

Held = dict[tuple[type[Embedding], str], set[Any]]
_held: ContextVar[Held | None] = ContextVar("cardigan_reco_held", default=None)
NEW_FILES = "_cardigan_reco_new_files"
"""Attribute of an instance during its save: the fields whose file goes to the storage with it."""


def connect() -> None:
    """Connects the hooks to each model that is, or inherits from, a source; and to migrate."""
    post_migrate.connect(
        _migrated,
        sender=apps.get_app_config("cardigan_reco"),
        dispatch_uid="cardigan_reco.migrated",
    )
    for model in apps.get_models():
        if collection.fed_by(model):
            pre_save.connect(_saving, sender=model, dispatch_uid="cardigan_reco.saving")
            post_save.connect(_saved, sender=model, dispatch_uid="cardigan_reco.saved")
            # Before the rows go, so that requests are locked first, as the workers do.
            pre_delete.connect(_deleted, sender=model, dispatch_uid="cardigan_reco.deleted")


@contextmanager
def paused() -> Iterator[None]:
    """Holds the hooks back, for imports: what was saved inside is marked once, at the end.

    Nothing is marked or woken before; blocks may be nested, the outermost one counts. The marks
    are written even if the block raises, since its earlier saves may be committed.
    """
    if _held.get() is not None:
        yield
        return
    held: Held = defaultdict(set)
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)
        for (embedding, using), source_pks in held.items():
            connection = transaction.get_connection(using)
            if not (connection.in_atomic_block and connection.needs_rollback):
                queue.mark(embedding, source_pks, using=using)
                _ring_on_commit(using)


def _saving(sender: type[Model], instance: Model, **kwargs: object) -> None:
    if conf.current().capture == "triggers":
        fields = {embedding.image_field for embedding in collection.fed_by(sender)}
        setattr(instance, NEW_FILES, {name for name in fields if _has_new_file(instance, name)})


def _has_new_file(instance: Model, field: str) -> bool:
    # What is not loaded, or is a name from the database, must not be fetched for this.
    if isinstance(instance.__dict__.get(field), (str, NoneType)):
        return False
    return not getattr(instance, field)._committed


def _saved(
    sender: type[Model],
    instance: Model,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **kwargs: object,
) -> None:
    held = _held.get()
    new_files = instance.__dict__.pop(NEW_FILES, ())
    if not queue.is_in(using):
        return
    triggers_mark = conf.current().capture == "triggers"
    for embedding in collection.fed_by(sender):
        if update_fields is not None and embedding.image_field not in update_fields:
            continue
        # Of a child model, this may be another column than its own key.
        source_pk = getattr(instance, embedding.source_model()._meta.pk.attname)
        if source_pk is None:
            continue  # A fixture's row of a child, which brings none of its parent's columns.
        is_ours = not triggers_mark or embedding.image_field in new_files
        if held is not None:
            source_pks = held[embedding, using]  # Also where triggers mark: a worker is woken.
            if is_ours:
                source_pks.add(source_pk)
            continue
        if is_ours:
            queue.mark(embedding, [source_pk], using=using)
        if not raw:
            _ring_on_commit(using)


def _deleted(sender: type[Model], instance: Model, using: str, **kwargs: object) -> None:
    if not queue.is_in(using):
        return
    for embedding in collection.fed_by(sender):
        # Django tells of the parents of what it deletes, too, unless they stay.
        if sender._meta.concrete_model is embedding.source_model()._meta.concrete_model:
            queue.forget(embedding, instance.pk, using=using)


def _migrated(using: str, plan: object = None, **kwargs: object) -> None:
    if plan is not None:  # None: it's the end of a flush.
        from . import capture

        capture.keep_up(using=using)


def _ring_on_commit(using: str) -> None:
    transaction.on_commit(partial(doorbell.ring, using), using=using, robust=True)
