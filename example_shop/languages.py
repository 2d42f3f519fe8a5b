"""The admin's language is the browser's; the shop's own pages are written in English."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.urls import reverse
from django.utils import translation


class AdminLocaleMiddleware(LocaleMiddleware):
    """Django's LocaleMiddleware for the admin alone.

    A German shelf on an English page would be read out as English, and its prices be half of each.
    """

    def process_request(self, request: HttpRequest) -> None:
        if request.path_info.startswith(reverse("admin:index")):
            super().process_request(request)
            return
        # The thread may have served the admin before.
        translation.activate(settings.LANGUAGE_CODE)
        request.LANGUAGE_CODE = translation.get_language()
