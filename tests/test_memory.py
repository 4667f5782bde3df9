"""Sizes beyond all memory are refused with the key and the number, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

import nas
from nas.errors import NasError


@pytest.mark.parametrize("key", ["network.channels=9999999999", "network.gru_hidden=999999"])
def test_a_size_that_no_network_has_is_refused_by_its_key(key: str) -> None:
    name, _, value = key.partition("=")
    with pytest.raises(NasError, match=rf"{name}: input should be less than or equal to \d+, not '{value}'"):
        nas.load_recipe("raw_pcdarts/toy", [key])


@pytest.mark.parametrize("key", ["data.samples=999999999999"])
def test_a_size_beyond_memory_names_its_key(tmp_path: Path, key: str) -> None:
    recipe = nas.load_recipe("raw_pcdarts/toy", [key])
    with pytest.raises(NasError, match=rf"^{key}.* takes [\d,.]+ GiB, and this machine has"):
        nas.search(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
