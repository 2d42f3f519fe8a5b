"""Who doesn't know which shelf is whose can't favour one."""

from __future__ import annotations

from django.utils.crypto import salted_hmac


def new_is_left(item_pk: object, versions: tuple[str, str], *, voter: str) -> bool:
    """Returns whether that person sees the new encoder's shelf of an item on the left.

    It is a coin that falls the same way each time they look, and that only the server knows.
    """
    seed = "\0".join([str(item_pk), *versions, voter])
    return bool(salted_hmac("cardigan_reco.comparison", seed, algorithm="sha256").digest()[0] & 1)
