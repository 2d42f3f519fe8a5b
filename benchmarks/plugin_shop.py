"""A shop's process, with the plugin or without: plugin_cost.py starts it, and asks it by lines.

It imports nothing that a shop doesn't have, since its memory is measured.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# The page of a product, with a shelf where there is one to show.
PAGE = "<h1>{{ product.title }}</h1>{% for image in product.images.all %}{{ image.original }}"
PAGE += "{% endfor %}"
SHELF = "{% load cardigan_reco %}{% similar_products product limit=8 %}"


def serve() -> None:
    """Answers questions from stdin, as a shop's process that has set up Django and Celery."""
    import django

    django.setup()
    from tests import celery  # noqa: F401  The shop's app.

    for line in sys.stdin:
        question = json.loads(line)
        if "saves" in question:
            answer: Any = saved(**question)
        else:
            if "page" in question:
                show_page()
            answer = memory_mib()
        print(json.dumps(answer), flush=True)


def saved(*, saves: int, atomic: bool, first: int) -> list[float]:
    """Saves pictures; returns the milliseconds of each."""
    from django.db import transaction

    from tests.testapp.catalogue.models import ProductImage

    milliseconds = []
    images = ProductImage.objects.filter(pk__gt=first).order_by("pk")[:saves]
    for image in list(images):
        begun = time.perf_counter()
        with transaction.atomic() if atomic else nullcontext():
            image.save()
        milliseconds.append(1000 * (time.perf_counter() - begun))
    return milliseconds


def show_page() -> None:
    from django.apps import apps
    from django.template import engines

    from tests.testapp.catalogue.models import Product

    has_plugin = apps.is_installed("cardigan_reco")
    template = engines["django"].from_string(PAGE + (SHELF if has_plugin else ""))
    page = template.render({"product": Product.objects.get(pk=1)})
    if has_plugin and page.count("product ") < 8:
        raise SystemExit(f"The page has no shelf:\n{page}")


def memory_mib() -> float:
    """Returns what this process holds of memory."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    serve()
