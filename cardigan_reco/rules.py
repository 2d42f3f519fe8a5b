"""What each value of the setting CARDIGAN_RECO must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.conf import settings as django_settings

Rule = Callable[[object], str | None]
"""Returns what a value must be, or None if it is that."""


def _positive(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return None
    return "a whole number above 0"


def _count(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return None
    return "a whole number from 0"


def _period(value: object) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9:
        return None
    return "a number of seconds above 0"


def _delay(value: object) -> str | None:
    return (
        None
        if value == 0 and not isinstance(value, bool)
        else _period(value) and f"0 or {_period(value)}"
    )


def _seconds(value: object) -> str | None:
    # PostgreSQL's clock ticks in milliseconds, and takes 0 for no limit at all.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.001 <= value <= 3600:
        return None
    return "a number from 0.001 to 3600"


def _whole(least: int, most: int) -> Rule:
    def rule(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return None
        return f"a whole number from {least} to {most}"

    return rule


ef_search = _whole(1, 1000)
"""Returns what a number of candidates must be, unless it is that."""


def _name(value: object) -> str | None:
    return None if isinstance(value, str) and value else "a name that is not empty"


def _alias(value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in django_settings.CACHES):
        return None
    return f"None, or an alias in CACHES, which has: {', '.join(django_settings.CACHES)}"


def _encoders(value: object) -> str | None:
    wanted = 'a dict of aliases, such as {"default": {"BACKEND": "dotted.path", "OPTIONS": {}}}'
    if not isinstance(value, Mapping) or not value:
        return wanted
    for alias, entry in value.items():
        if not isinstance(alias, str) or not isinstance(entry, Mapping):
            return wanted
        if not isinstance(entry.get("BACKEND"), str):
            return wanted
        if set(entry) - {"BACKEND", "OPTIONS"}:
            return f"{wanted}, with the keys BACKEND and OPTIONS alone"
        if not isinstance(entry.get("OPTIONS", {}), Mapping):
            return f"{wanted}, OPTIONS being a dict"
    return None


def _collections(value: object) -> str | None:
    if isinstance(value, Mapping) and all(
        isinstance(purpose, str) and isinstance(label, str) and label.count(".") == 1
        for purpose, label in value.items()
    ):
        return None
    return 'a dict of purposes and model labels, such as {"similar": "shop.ProductImageEmbedding"}'


def _captured(value: object) -> str | None:
    return None if value in ("signals", "triggers") else "'signals' or 'triggers'"


def _where(value: object) -> str | None:
    return None if value in ("process", "worker") else "'process' or 'worker'"


def _probability(value: object) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1:
        return None
    return "a number above 0 and up to 1"


def _switch(value: object) -> str | None:
    return None if isinstance(value, bool) else "True or False"


def _dict_of(rules: Mapping[str, Rule]) -> Rule:
    def rule(value: object) -> str | None:
        if not isinstance(value, Mapping) or set(value) - set(rules):
            return f"a dict with any of the keys {', '.join(rules)}"
        for key, one in rules.items():
            if key in value and (wanted := one(value[key])):
                return f"a dict, {key} being {wanted}"
        return None

    return rule


SEARCH: dict[str, Rule] = {
    "ENCODE_IN": _where,
    "QUEUE": _name,
    "CONCURRENT": _positive,
    "WAIT_SECONDS": _seconds,
    "DEADLINE_SECONDS": _seconds,
}

DUPLICATES: dict[str, Rule] = {
    "COLLECTION": _name,
    "LISTINGS": _name,
    "MIN_PROBABILITY": _probability,
    "MAX_LISTINGS_PER_PICTURE": _positive,
    "CHECK_ON_ENCODE": _switch,
}

HEALTH: dict[str, Rule] = {
    "OVERDUE_SECONDS": _period,
    "WORKERS": _count,
    "SILENT_SECONDS": _period,
    "TIMEOUT_SECONDS": _seconds,
}


def _duplicates(value: object) -> str | None:
    return None if value is None else _dict_of(DUPLICATES)(value)


RULES: dict[str, Rule] = {
    "ENCODERS": _encoders,
    "COLLECTIONS": _collections,
    "CELERY_QUEUE": _name,
    "CAPTURE": _captured,
    "BATCH_SIZE": _positive,
    "DECODE_THREADS": _positive,
    "READ_SECONDS": _seconds,
    "DECODE_SECONDS": _seconds,
    "LEASE_SECONDS": _positive,
    "MAX_ATTEMPTS": _positive,
    "RETRY_SECONDS": _positive,
    "POLL_SECONDS": _positive,
    "MAX_IMAGE_BYTES": _positive,
    "MAX_IMAGE_PIXELS": _positive,
    "EF_SEARCH": ef_search,
    "EXACT_ROWS": _positive,
    "PREPARED_SEARCHES": _whole(0, 1000),
    "SHELF_CACHE": _alias,
    "SHELF_SECONDS": _delay,
    "SEARCH_TIMEOUT_SECONDS": _seconds,
    "SEARCH": _dict_of(SEARCH),
    "DUPLICATES": _duplicates,
    "HEALTH": _dict_of(HEALTH),
    "METRICS": _switch,
}
