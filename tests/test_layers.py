"""Who may import whom, and what the web process never loads, or not for a page with a shelf."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

import cardigan_reco
from tests import postgres
from tests.conftest import GREEN, ORANGE, RED, AddProduct, encode_all
from tests.testapp.models import ProductImageEmbedding

PACKAGE = Path(cardigan_reco.__file__).parent
LAYERS = [
    [
        *["exceptions", "conf", "containers", "copies", "decoding", "filters", "images"],
        *["photo_form", "refusals", "request_ids", "rules", "uploads"],
    ],
    ["asking", "broker", "crew", "lookout", "prepared", "quarantine", "stopping"],
    ["encoders", "fields", "querysets"],
    ["models", "training"],
    ["collection", "database", "locks", "queue", "revisions", "summary", "tallies"],
    ["backlog", "heartbeats"],
    ["metrics"],
    [
        "batches",
        "capture",
        "duplicates",
        "encoding",
        "estimates",
        "fetching",
        "files",
        "indexes",
        "neighbours",
        "operations",
        "overview",
        "photos",
        "preparation",
        "sweep",
        "writing",
    ],
    ["recall", "search", "shelves", "recommendations"],
    ["comparison", "doorbell", "status", "tasks"],
    ["signals"],
    ["admin", "api", "apps", "checks", "health", "management", "templatetags", "views"],
]
"""Each may import its own layer and those above it in this list; migrations stand apart."""
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TORCH = {"torch", "torchvision", "safetensors"}
CELERY = {"celery", "kombu", "billiard"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yields the dotted name within the package, and the syntax tree, of each module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), ast.parse(path.read_text())


def imported(name: str, tree: ast.AST) -> set[str]:
    """Returns the full names of all that a module imports, wherever it stands in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["cardigan_reco", *name.split(".")][: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    """Returns the first part, within the package, of those names that are in it."""
    return {name.split(".")[1] for name in names if name.startswith("cardigan_reco.")}


def at_import(tree: ast.Module) -> ast.Module:
    """Returns what of a module runs when it is imported: no functions, nothing for mypy alone."""

    class Outer(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else node

    outer = Outer().visit(ast.parse(ast.unparse(tree)))
    assert isinstance(outer, ast.Module)
    return outer


def test_the_walk_sees_imports_of_every_kind() -> None:
    source = "import torch\ndef f():\n    from .. import queue\n    from ..models import Embedding"
    assert imported("admin.requests", ast.parse(source)) == {
        "torch",
        "cardigan_reco.queue",
        "cardigan_reco.models.Embedding",
    }
    assert imported("admin.requests", at_import(ast.parse(source))) == {"torch"}


def test_every_module_has_its_layer() -> None:
    names = {name.split(".")[0] for name, _tree in modules()} - {"__init__", "migrations"}
    assert names == set(RANKS)


def test_nothing_imports_what_stands_above_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in modules()
        if (first := name.split(".")[0]) in RANKS
        for other in own(imported(name, tree)) & set(RANKS)
        if RANKS[other] > RANKS[first]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Within a layer too; only the doorbell and its task do, one of them when it is called."""
    needs = {name: set[str]() for name in RANKS}
    for name, tree in modules():
        if (first := name.split(".")[0]) in RANKS:
            needs[first] |= own(imported(name, at_import(tree))) & set(RANKS) - {first}
    while needs:
        free = {name for name, others in needs.items() if not others & set(needs)}
        assert free, f"A circle among {sorted(needs)}."
        needs = {name: others for name, others in needs.items() if name not in free}


def test_nothing_imports_the_training() -> None:
    importers = [
        name
        for name, tree in modules()
        if not name.startswith(("training", "management"))
        and "training" in own(imported(name, tree))
    ]
    assert importers == []


def test_torch_is_imported_by_encoders_alone_and_late() -> None:
    for name, tree in modules():
        roots = {other.split(".")[0] for other in imported(name, tree)}
        assert name.startswith(("encoders.", "training.")) or not roots & TORCH, name
        # The networks themselves are imported when one is built.
        early = {other.split(".")[0] for other in imported(name, at_import(tree))}
        if not name.startswith(("encoders.networks.", "training.")):
            assert not early & TORCH, name


def test_celery_is_imported_at_once_by_the_tasks_alone() -> None:
    for name, tree in modules():
        roots = {other.split(".")[0] for other in imported(name, at_import(tree))}
        assert name == "tasks" or not roots & CELERY, name


WEB = """
import sys

import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.template import Context, Template
from django.test import Client
from django.urls import include, path
from PIL import Image
from cardigan_reco.encoders import encoders
from tests.testapp.catalogue.models import Product
from tests.urls import urlpatterns

HEAVY = {"torch", "torchvision", "safetensors"}

def report(step):
    print(step, *sorted(HEAVY & set(sys.modules)))

report("setup")
call_command("check", databases=["default"])
report("check")

def page(request, pk):
    product = Product.objects.get(pk=pk)
    template = Template("{% load cardigan_reco %}{% similar_products product %}")
    return HttpResponse(template.render(Context({"product": product})))

urlpatterns.append(path("product/<int:pk>", page))
urlpatterns.append(path("visual/", include("cardigan_reco.api.urls")))
client = Client()
client.cookies["sessionid"] = sys.argv[1]
for url in sys.argv[2:]:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    if url.startswith("/product"):
        assert response.content.count(b"cardigan-shelf-item\\"") == 2, response.content
    if url.startswith("/visual"):
        assert len(response.json()["results"]) == 2, response.content
    report(url)
encoder = encoders["default"]
fitted = encoder.fit(Image.new("RGB", (900, 700)))
print(type(encoder).__name__, encoder.dimensions, len(encoder.fingerprint), fitted.width)
report("encoder")
import torch
report("torch")
"""

SHELF = """
import sys

import django
django.setup()
from django.template import Context, Template
from tests.testapp.catalogue.models import Product

def report(step):
    print(step, *(name for name in sys.argv[2:] if name in sys.modules))

report("setup")
template = Template("{% load cardigan_reco %}{% similar_products product %}")
page = template.render(Context({"product": Product.objects.get(pk=sys.argv[1])}))
assert page.count('cardigan-shelf-item"') == 2, page
report("page")
import cardigan_reco.decoding
from cardigan_reco import capture, checks, duplicates, metrics
duplicates.find, metrics.Collector
report("all")
"""
NEEDLESS = [
    *["celery", "cv2", "numpy", "PIL", "prometheus_client", "rapidfuzz", *sorted(TORCH)],
    *["cardigan_reco.capture", "cardigan_reco.decoding", "cardigan_reco.duplicates.finding"],
    *["cardigan_reco.encoding", "cardigan_reco.metrics.collector"],
]
"""What a page with a shelf needn't wait for, nor hold."""


@pytest.mark.django_db(transaction=True)
def test_a_page_with_a_shelf_needs_no_more_than_django_and_pgvector(
    add_product: AddProduct,
) -> None:
    mug = add_product("mug", RED)
    add_product("cup", ORANGE)
    add_product("bowl", GREEN)
    encode_all()
    address = urlsplit(postgres.url())._replace(path=f"/{connection.settings_dict['NAME']}")
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHELF, str(mug.pk), *NEEDLESS],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": address.geturl(),
            "PYTHONPATH": str(PACKAGE.parent),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    setup, page, everything = finished.stdout.splitlines()
    assert setup == "setup"
    assert page == "page"
    # The report does see them once they are there.
    assert everything.split() == [
        "all",
        "numpy",
        "PIL",
        "cardigan_reco.capture",
        "cardigan_reco.decoding",
        "cardigan_reco.duplicates.finding",
        "cardigan_reco.metrics.collector",
    ]


@pytest.mark.django_db(transaction=True)
def test_the_web_process_never_imports_torch(
    add_product: AddProduct, admin_client: Client, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    mug = add_product("mug", RED)
    add_product("cup", ORANGE)
    add_product("bowl", GREEN)
    encode_all()
    mug.images.get().save()
    embedding = ProductImageEmbedding.objects.get(source__product=mug)
    urls = [
        f"/product/{mug.pk}",
        f"/visual/{mug.pk}/similar/",
        "/admin/",
        "/admin/cardigan_reco/encodingrequest/",
        "/admin/cardigan_reco/encoderversion/",
        "/admin/testapp/productimageembedding/",
        f"/admin/testapp/productimageembedding/{embedding.pk}/change/",
    ]
    # What a shop has: the bundled network, which needs torch to encode. Its vectors are longer
    # than the columns of the tests, which a check rightly says of both.
    (tmp_path / "torch_settings.py").write_text(
        "from tests.settings import *\n"
        f"DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r}\n"
        f"MEDIA_ROOT = {settings.MEDIA_ROOT!r}\n"
        "ALLOWED_HOSTS = ['testserver']\n"
        "CARDIGAN_RECO = {'COLLECTIONS': CARDIGAN_RECO['COLLECTIONS']}\n"
        "SILENCED_SYSTEM_CHECKS = ['cardigan_reco.E011']\n"
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", WEB, admin_client.cookies["sessionid"].value, *urls],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "torch_settings",
            "DATABASE_URL": postgres.url(),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    *steps, encoder, after, last = finished.stdout.splitlines()
    steps.remove("System check identified no issues (2 silenced).")
    assert steps == ["setup", "check", *urls]
    assert encoder == "TorchEncoder 512 64 144"
    assert after == "encoder"
    assert last == "torch torch"  # The report does see torch once it is there.
