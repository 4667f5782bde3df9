"""Passwords in what is written down, said and passed on."""

from __future__ import annotations

import json
import sys

import pytest

from nas.errors import NasError
from nas.redaction import hide_secrets
from nas.training.environment import command_line, this_command


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://nas:Hunter2x@127.0.0.1/studies",
        "postgresql://:Hunter2x@host/studies",
        "postgresql://nas:Hun@ter2x@host/studies",
        "postgresql%3A%2F%2Fnas%3AHunter2x%40host/studies",
        "--storage=mysql://nas:Hunter2x@host/studies",
        "sqlite:///file:/data/s.db?uri=true&password=Hunter2x",
        "sqlite:///s.db?PASSWD=Hunter2x&timeout=1",
        "sqlite:///s.db?%70assword=Hunter2x",
        "x%3Fpassword%3DHunter2x",
        "x?sslpassword=Hunter2x;y=1",
        "PGPASSWORD=Hunter2x nas tune",
        "access_token=Hunter2x",
        "host=db password='Hunter2x with spaces' user=nas",
        'host=db password="Hunter2x"',
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for written in (hide_secrets(text), str(NasError(text)), hide_secrets(hide_secrets(text))):
        assert "ter2x" not in written
        assert "***" in written
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nas", "tune", "--storage", text])
    assert "ter2x" not in json.dumps(command_line()) + this_command()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://nas@host:5432/studies",
        "http://127.0.0.1:8080/dashboard",
        "data.root=/data/LA seed=3 train.learning_rate=1e-3",
        "engine.passes=2",
        "sqlite:///studies.db",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide_secrets(text) == text
