"""What an item looks like in an answer, until a shop says it better."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from .schema import typed


class ItemSerializer(serializers.Serializer[Any]):
    """Any model: its key, its str(), its page and the picture that matched."""

    id = serializers.SerializerMethodField()
    name = serializers.CharField(source="__str__", read_only=True)
    url = serializers.SerializerMethodField(help_text="The item's page, if it has one.")
    image = serializers.SerializerMethodField(help_text="The picture that matched.")

    @typed({"oneOf": [{"type": "integer"}, {"type": "string"}]})
    def get_id(self, item: Any) -> int | str:
        return item.pk if isinstance(item.pk, int) else str(item.pk)

    def get_url(self, item: Any) -> str | None:
        if not hasattr(item, "get_absolute_url"):
            return None
        address: str = self.context["request"].build_absolute_uri(item.get_absolute_url())
        return address

    def get_image(self, item: Any) -> str | None:
        address: str | None = self.context["view"].picture_url(item)
        return address
