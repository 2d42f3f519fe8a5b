"""The example shop's tests run in processes of their own, with the shop's settings.

One of them alone: pytest --noconftest --ds=example_shop.settings tests/shop/pages.py
"""

import os
import subprocess
import sys
from pathlib import Path

from tests import postgres

ROOT = Path(__file__).parent.parent
FILES = ["browsing", "catalogues", "embedded", "merging", "pages"]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python module with the shop's settings, the tests' server and a new data folder."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": postgres.url(),
            "DJANGO_SETTINGS_MODULE": "example_shop.settings",
            "CARDIGAN_DEMO_FOLDER": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_with_the_shops_settings(tmp_path: Path) -> None:
    files = [f"tests/shop/{name}.py" for name in FILES]
    done = run(tmp_path, "-m", "pytest", "-q", "--noconftest", *files)

    assert done.returncode == 0, done.stdout + done.stderr


def test_migrations_are_complete(tmp_path: Path) -> None:
    done = run(tmp_path, "manage.py", "makemigrations", "--check", "--dry-run")

    assert done.returncode == 0, done.stdout + done.stderr
