"""What is asked of the embedded server without starting one."""

from pathlib import Path

import pytest

from example_shop import database, folders


def test_a_named_server_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/shop")
    database.ensure_running()

    assert database.url() == "postgresql://elsewhere/shop"


def test_a_folder_with_a_space_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(folders, "POSTGRES", Path("/tmp/my data/postgres"))

    with pytest.raises(database.DatabaseUnavailable, match="a folder with a space: /tmp/my data"):
        database.ensure_running()


def test_users_that_were_killed_are_forgotten(tmp_path: Path) -> None:
    register = tmp_path / "pids.json"
    register.write_text("[1, 4194999]")
    database._forget_killed_users(register)

    assert register.read_text() == "[1]"
