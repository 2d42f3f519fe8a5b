"""Checks of the embedding models that a shop declares."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db.models import CharField, FileField, ForeignKey, Model, OneToOneField, TextField

from cardigan_reco import collection, conf, rules
from cardigan_reco.encoders import encoders
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.fields import OPERATOR_CLASS, EmbeddingField, EmbeddingIndex
from cardigan_reco.models import Embedding, EncodingRequest

from .settings import TAG, AppConfigs, Messages, unusable


def check_models(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return [message for model in models_of(app_configs) for message in _model(model)]


def models_of(app_configs: AppConfigs) -> list[type[Embedding]]:
    """Returns the embedding models of the apps that are checked."""
    return [
        model
        for model in collection.models()
        if app_configs is None or model._meta.app_config in app_configs
    ]


def _model(model: type[Embedding]) -> Messages:
    structure = [*_source(model), *_vector(model)]
    yield from structure
    if not structure and _is_resolved(model):
        yield from _source_target(model)
        yield from _source_key(model)
        yield from _image_field(model)
        path = [*_item_field(model)]
        yield from path or _converted_keys(model)
        yield from _index(model)
        yield from _ef_search(model)
        yield from _encoder(model)


def _source(model: type[Embedding]) -> Messages:
    field = _field(model, "source")
    if not (isinstance(field, OneToOneField) and field.primary_key):
        yield checks.Error(
            f"{model._meta.label}.source is not a OneToOneField with primary_key=True.",
            hint='source = models.OneToOneField("shop.ProductImage", models.CASCADE, '
            'primary_key=True, related_name="+")',
            obj=model,
            id=f"{TAG}.E004",
        )


def _vector(model: type[Embedding]) -> Messages:
    field = _field(model, "vector")
    if not isinstance(field, EmbeddingField):
        yield checks.Error(
            f"{model._meta.label}.vector is not an EmbeddingField.",
            hint="vector = EmbeddingField(dimensions=512)",
            obj=model,
            id=f"{TAG}.E005",
        )


def _is_resolved(model: type[Embedding]) -> bool:
    """Whether the source's model exists; Django itself reports one that doesn't."""
    field = _field(model, "source")
    return field is not None and isinstance(field.related_model, type)


def _field(model: type[Model], name: str) -> Any:
    """Returns the field of that name or None."""
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _key(model: type[Model]) -> Any:
    """Returns the primary key, or what it refers to in the end."""
    key: Any = model._meta.pk
    while key.remote_field and isinstance(key.related_model, type):
        key = key.target_field
    return key


def _source_target(model: type[Embedding]) -> Messages:
    source = model.source_model()
    target = _field(source, _field(model, "source").remote_field.field_name)
    if target is not None and not target.primary_key:
        yield checks.Error(
            f"{model._meta.label}.source points to {source._meta.label}.{target.name}. Sources are "
            "known by their primary key.",
            hint="Leave to_field out, and write a migration.",
            obj=model,
            id=f"{TAG}.E029",
        )


def _source_key(model: type[Embedding]) -> Messages:
    source = model.source_model()._meta
    key = _key(model.source_model())
    longest = _field(EncodingRequest, "source_pk").max_length
    is_short = isinstance(key, CharField) and (key.max_length or longest + 1) <= longest
    if isinstance(key, (CharField, TextField)) and not is_short:
        yield checks.Error(
            f"{source.label} has {key} as its primary key, a text that may be longer than the "
            f"{longest} characters that the queue has for it: such a save would fail.",
            hint=f"Let it be a CharField with max_length={longest} at most, or give {source.label} "
            "another primary key.",
            obj=model,
            id=f"{TAG}.E030",
        )


def _image_field(model: type[Embedding]) -> Messages:
    at: Any = model.source_model()
    *keys, last = model.image_field.split("__")
    for name in keys:
        choices = {field.name: field for field in at._meta.get_fields() if _leads_on(field)}
        if name not in choices:
            yield checks.Error(
                f"{model._meta.label}.image_field is {model.image_field!r}, but {name!r} is not a "
                f"foreign key of {at._meta.label} to another model's primary key.",
                hint=f"Choices are: {', '.join(choices) or 'none'}.",
                obj=model,
                id=f"{TAG}.E006",
            )
            return
        at = choices[name].related_model
    names = [field.name for field in at._meta.get_fields() if isinstance(field, FileField)]
    if last not in names:
        yield checks.Error(
            f"{model._meta.label}.image_field is {model.image_field!r}, which is not an image "
            f"or file field of {at._meta.label}.",
            hint=f"Choices are: {', '.join(names)}."
            if names
            else "A picture behind a foreign key is named with it, as in 'image__file'.",
            obj=model,
            id=f"{TAG}.E006",
        )


def _leads_on(field: Any) -> bool:
    """Returns whether a field leads from each row to one of another model at most, by its key."""
    return isinstance(field, ForeignKey) and field.target_field.primary_key


def _item_field(model: type[Embedding]) -> Messages:
    at, last = model.source_model(), None
    for name in model.item_field.split("__") if model.item_field else []:
        keys = {
            field.name: field
            for field in at._meta.get_fields()
            if (field.many_to_one or (field.one_to_one and field.concrete))
        }
        last = keys.get(name)
        if last is None or not isinstance(last.related_model, type):
            yield checks.Error(
                f"{model._meta.label}.item_field is {model.item_field!r}, but {name!r} is not a "
                f"foreign key of {at._meta.label}.",
                hint=f"Choices are: {', '.join(keys) or 'none'}; several are joined by '__'. None "
                "recommends the source itself.",
                obj=model,
                id=f"{TAG}.E007",
            )
            return
        at = last.related_model
    if isinstance(last, ForeignKey) and not last.target_field.primary_key:
        yield checks.Error(
            f"{model._meta.label}.item_field is {model.item_field!r}, which ends in a foreign key "
            f"to {at._meta.label}.{last.target_field.name}. Items are known by their primary key.",
            hint=f"Leave to_field out of {last}, or add a foreign key to the primary key of "
            f"{at._meta.label} and name that.",
            obj=model,
            id=f"{TAG}.E027",
        )


def _converted_keys(model: type[Embedding]) -> Messages:
    for key in dict.fromkeys([_key(model.source_model()), _key(model.item_model())]):
        if hasattr(key, "from_db_value"):
            yield checks.Error(
                f"{key} makes keys of its own of what PostgreSQL has, by from_db_value(). Keys are "
                "looked up as PostgreSQL has them: searches would find nothing.",
                hint="Let the primary key be a number, a UUID or a text as it is stored, and write "
                "it in another way where it is shown. Silence this check if the keys are equal to "
                "what is stored, and as text as well.",
                obj=model,
                id=f"{TAG}.E031",
            )


def _index(model: type[Embedding]) -> Messages:
    own = declared_indexes(model)
    if not own:
        yield checks.Warning(
            f"{model._meta.label} has no EmbeddingIndex: each search reads the whole table.",
            hint='indexes = [EmbeddingIndex(name="...", fields=["vector"])] in its Meta. An '
            "encoder that is being introduced gets its index after its vectors.",
            obj=model,
            id=f"{TAG}.W001",
        )
    for index in own:
        if list(index.opclasses) != [OPERATOR_CLASS]:
            yield checks.Error(
                f"Index {index.name} of {model._meta.label} has operator class "
                f"{', '.join(index.opclasses)}, which no search uses.",
                hint=f"Leave opclasses out; EmbeddingIndex chooses {OPERATOR_CLASS}.",
                obj=model,
                id=f"{TAG}.E008",
            )


def declared_indexes(model: type[Model]) -> list[EmbeddingIndex]:
    """Returns the vector indexes that a model's Meta names."""
    return [index for index in model._meta.indexes if isinstance(index, EmbeddingIndex)]


def _ef_search(model: type[Embedding]) -> Messages:
    if model.ef_search is not None and (wanted := rules.ef_search(model.ef_search)):
        yield checks.Error(
            f"{model._meta.label}.ef_search is {model.ef_search!r}.",
            hint=f"It must be {wanted}, or None for that of {conf.SETTING}.",
            obj=model,
            id=f"{TAG}.E026",
        )


def _encoder(model: type[Embedding]) -> Messages:
    if unusable():
        return
    try:
        encoder = encoders[model.encoder]
        dimensions = encoder.dimensions if encoder.describes_itself else None
    except (CardiganError, ImproperlyConfigured) as error:
        yield checks.Error(
            f"{model._meta.label}: {error}",
            hint=f"See {conf.SETTING}['ENCODERS'][{model.encoder!r}].",
            obj=model,
            id=f"{TAG}.E009",
        )
        return
    declared = _field(model, "vector").dimensions
    if dimensions is not None and declared != dimensions:
        yield checks.Error(
            f"{model._meta.label}.vector has {declared} dimensions, but encoder "
            f"{model.encoder!r} makes {dimensions}.",
            hint=f"vector = EmbeddingField(dimensions={dimensions}), and a migration.",
            obj=model,
            id=f"{TAG}.E011",
        )
