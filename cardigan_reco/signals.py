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
    """Connects the hooks to each model that is, or inherits from, a source, or that a source's
    picture is in; and to migrate.
    """
    post_migrate.connect(
        _migrated,
        sender=apps.get_app_config("cardigan_reco"),
        dispatch_uid="cardigan_reco.migrated",
    )
    for model in apps.get_models():
        if collection.steps_through(model):
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
        steps = collection.steps_through(sender)
        fields = {step.field.name for step in steps if step.is_last}
        setattr(instance, NEW_FILES, {name for name in fields if _has_new_file(instance, name)})


def _has_new_file(instance: Model, field: str) -> bool:
    # What is not loaded, or is a name from the database, must not be fetched for this.
    if isinstance(instance.__dict__.get(field), (str, NoneType)):
        return False
    return not getattr(instance, field)._committed


def _saved(
    sender: type[Model],
    instance: Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **kwargs: object,
) -> None:
    new_files = instance.__dict__.pop(NEW_FILES, ())
    if not queue.is_in(using):
        return
    triggers_mark = conf.current().capture == "triggers"
    for step in collection.steps_through(sender):
        names = {step.field.name, step.field.attname}
        if update_fields is not None and names.isdisjoint(update_fields):
            continue
        if created and step.to_here:
            continue  # Nothing leads to it yet.
        is_ours = not triggers_mark or step.field.name in new_files
        _mark(step, instance, using, is_ours=is_ours, rings=not raw)


def _mark(
    step: collection.Step, instance: Model, using: str, *, is_ours: bool, rings: bool
) -> None:
    """Marks the sources that a row is, or leads to the pictures of; where triggers do it, a worker
    is woken.
    """
    source_pks = _source_pks(step, instance, using) if is_ours else []
    if is_ours and not source_pks:
        return
    if (held := _held.get()) is not None:
        held[step.embedding, using].update(source_pks)
        return
    if source_pks:
        queue.mark(step.embedding, source_pks, using=using)
    if rings:
        _ring_on_commit(using)


def _source_pks(step: collection.Step, instance: Model, using: str) -> list[Any]:
    source = step.embedding.source_model()
    if step.to_here:
        sources = source._base_manager.using(using).filter(**{step.to_here: instance})
        return list(sources.order_by().values_list("pk", flat=True))
    # Of a child model, this may be another column than its own key.
    source_pk = getattr(instance, source._meta.pk.attname)
    # None: a fixture's row of a child, which brings none of its parent's columns.
    return [] if source_pk is None else [source_pk]


def _deleted(sender: type[Model], instance: Model, using: str, **kwargs: object) -> None:
    if not queue.is_in(using):
        return
    triggers_mark = conf.current().capture == "triggers"
    for step in collection.steps_through(sender):
        if step.to_here:
            # The keys that lead to it may be emptied, of which no signal tells.
            if not triggers_mark:
                _mark(step, instance, using, is_ours=True, rings=True)
        # Django tells of the parents of what it deletes, too, unless they stay.
        elif sender._meta.concrete_model is step.embedding.source_model()._meta.concrete_model:
            queue.forget(step.embedding, instance.pk, using=using)


def _migrated(using: str, plan: object = None, **kwargs: object) -> None:
    if plan is not None:  # None: it's the end of a flush.
        from . import capture

        capture.keep_up(using=using)


def _ring_on_commit(using: str) -> None:
    transaction.on_commit(partial(doorbell.ring, using), using=using, robust=True)
