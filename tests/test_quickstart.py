"""The wheel, beside a minimal shop that follows the README word for word, serves a shelf."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from cardigan_reco import __version__
from tests import postgres

ROOT = Path(__file__).parent.parent

SHOP = {
    "manage.py": """
        import sys
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
        """,
    "settings.py": """
        import os
        import dj_database_url

        SECRET_KEY = "quickstart"
        DEBUG = True
        ROOT_URLCONF = "urls"
        DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
        # Which startproject doesn't write, and Django has no default for.
        del DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"]
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        MEDIA_ROOT = "media"
        MEDIA_URL = "media/"
        STATIC_URL = "static/"
        INSTALLED_APPS = ["django.contrib.staticfiles", "catalogue"]
        TEMPLATES = [{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": ["templates"],
            "APP_DIRS": True,
        }]
        """,
    "urls.py": """
        from catalogue.models import Product
        from django.shortcuts import render
        from django.urls import path

        def product(request, pk):
            return render(request, "product.html", {"product": Product.objects.get(pk=pk)})

        urlpatterns = [path("products/<int:pk>/", product)]
        """,
    "catalogue/__init__.py": "",
    "catalogue/models.py": """
        from django.db import models

        class Product(models.Model):
            name = models.CharField(max_length=100)
            published = models.BooleanField(default=True)

            def __str__(self):
                return self.name

            def get_absolute_url(self):
                return f"/products/{self.pk}/"

        class ProductImage(models.Model):
            product = models.ForeignKey(Product, models.CASCADE)
            image = models.ImageField()
        """,
    "fill.py": """
        from catalogue.models import Product, ProductImage
        from django.core.files.base import ContentFile
        from io import BytesIO
        from PIL import Image

        for name, colour in [("red", "#c22"), ("brick", "#b32"), ("blue", "#24c")]:
            file = BytesIO()
            Image.new("RGB", (200, 200), colour).save(file, "JPEG")
            product = Product.objects.create(name=name)
            ProductImage.objects.create(
                product=product, image=ContentFile(file.getvalue(), name=f"{name}.jpg")
            )
        Product.objects.create(name="hidden", published=False)
        """,
    "visit.py": """
        import re, sys
        import cardigan_reco
        from catalogue.models import Product
        from django.test import Client

        page = Client().get(f"/products/{Product.objects.get(name='red').pk}/").content.decode()
        print("package:", cardigan_reco.__file__)
        print("shelf:", re.findall(r'alt="(.*?)"', page))
        print("torch:", "torch" in sys.modules)
        """,
}


def blocks(language: str) -> dict[str, str]:
    """Returns the README's code blocks that name a file in their first line."""
    readme = (ROOT / "README.md").read_text()
    found = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", readme, re.DOTALL)
    return dict(found)


def shelf_block() -> str:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"\*\*4\. The shelf\*\*.*?```django\n(.*?)```", readme, re.DOTALL)
    assert found
    return found[1]


def commands() -> list[str]:
    """Returns the README's commands between the table and the shelf."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"\*\*3\. .*?```console\n(.*?)```", readme, re.DOTALL)
    assert found
    return [part for line in found[1].splitlines() for part in line.split(" && ")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, copy],
        check=True,
        capture_output=True,
        env={key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"},
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in [
        "cardigan_reco/py.typed",
        "cardigan_reco/encoders/weights/gridnet.safetensors",
        "cardigan_reco/migrations/0001_initial.py",
        "cardigan_reco/templates/cardigan_reco/similar_products.html",
        "cardigan_reco/templates/admin/cardigan_reco/encodingrequest/change_list.html",
        "cardigan_reco/static/cardigan_reco/shelf.css",
        "cardigan_reco/management/commands/encode_images.py",
        "cardigan_reco/locale/de/LC_MESSAGES/django.mo",
        f"cardigan_reco-{__version__}.dist-info/licenses/LICENSE",
    ]:
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cardigan_reco", f"cardigan_reco-{__version__}.dist-info"}


def test_the_source_distribution_brings_the_docs_and_no_half_of_the_tests(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    docs = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert {*docs, "README.md", "CHANGELOG.md", "LICENSE"} <= names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"tests", "example_shop", "benchmarks"}


def test_the_page_on_pypi_stands_by_itself(wheel: Path) -> None:
    metadata = zipfile.ZipFile(wheel).read(f"cardigan_reco-{__version__}.dist-info/METADATA")
    fields, _, page = metadata.decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in fields
    assert shelf_block() in page
    sections = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert (sections[0], sections[-1]) == ("Add it to your shop", "Settings")
    links = re.findall(r"\]\((.*?)\)", page)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_quickstart_leads_to_a_shelf(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    installed, shop = tmp_path / "installed", tmp_path / "shop"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel]
    subprocess.run(pip, check=True)
    for name, text in SHOP.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_text(textwrap.dedent(text))
    for name, text in blocks("python").items():
        if (shop / name).exists():
            (shop / name).write_text((shop / name).read_text() + text)
    (shop / "templates").mkdir()
    (shop / "templates/product.html").write_text(shelf_block())

    with postgres.database("quickstart") as url:
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "PYTHONPATH": str(installed),
            "DJANGO_SETTINGS_MODULE": "settings",
        }

        def run(*command: str, script: str = "") -> str:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=shop,
                env=environment,
                input=script,
                text=True,
                capture_output=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        for command in commands():
            app = ["catalogue"] if "makemigrations" in command else []
            run(*command.split()[1:], *app)
            if "check" in command:
                run("manage.py", "shell", script=(shop / "fill.py").read_text())
        visit = run("manage.py", "shell", script=(shop / "visit.py").read_text())
    assert f"package: {installed}" in visit
    assert "shelf: ['brick', 'blue']" in visit
    assert "torch: False" in visit


@pytest.mark.skipif(not shutil.which("xgettext"), reason="makemessages needs GNU gettext")
def test_what_shoppers_read_is_collected_as_the_docs_say(tmp_path: Path) -> None:
    docs = (ROOT / "docs/photo-page.md").read_text()
    found = re.search(r"## In another language.*?```console\n(.*?)```", docs, re.DOTALL)
    assert found
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    subprocess.run(
        ["bash", "-e", "-c", found[1]], cwd=tmp_path, env=environment, check=True, timeout=60
    )
    texts = (tmp_path / "locale/cardigan/it/LC_MESSAGES/django.po").read_text()
    for said in ("Similar products", "Search by photo", "Find what looks like it"):
        assert f'msgid "{said}"' in texts
    assert "Duplicate listings" not in texts


def test_the_version_is_said_once() -> None:
    assert f'version="{__version__}"' in (ROOT / "setup.py").read_text()
