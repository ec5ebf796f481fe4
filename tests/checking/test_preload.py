"""Work done once for many runs: importing modules before the fork, and keeping JAX's compiled code."""

import os
import re

import pytest
from conftest import ROOT

from workshop.checking import preload


@pytest.fixture(autouse=True)
def asked_anew():
    preload.compilation_cache.cache_clear()
    yield
    preload.compilation_cache.cache_clear()


@pytest.mark.parametrize(
    "path, wanted",
    [
        ("exercise-1-scipy/solution/exclusion.py", "scipy.spatial"),
        ("exercise-2-pytorch-cu12/solution/train.py", "torch"),
        ("exercise-3-jax-cu118/solution/train.py", "jax"),
    ],
)
def test_a_script_gets_its_own_framework(path, wanted):
    modules = preload.modules_for(ROOT / path)
    assert wanted in modules and "matplotlib.figure" in modules
    assert {"torch", "jax", "scipy.spatial"} & set(modules) == {wanted}


def test_a_script_that_cannot_be_read_gets_none(tmp_path):
    assert preload.modules_for(tmp_path / "train.py") == ()


def test_compiled_code_is_kept_by_kind_of_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_CACHE", str(tmp_path))
    first = preload.compilation_cache()
    assert re.fullmatch(r"[0-9a-f]{16}", os.path.basename(first)) and list(tmp_path.rglob("*")) != []
    assert preload.variables()["JAX_COMPILATION_CACHE_DIR"] == first
    preload.compilation_cache.cache_clear()
    monkeypatch.setattr(preload, "_cpu_flags", lambda: "flags: fewer")
    assert preload.compilation_cache() != first and os.path.dirname(preload.compilation_cache()) == os.path.dirname(
        first
    )


def test_without_a_cache_compiled_code_is_kept_for_this_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for nowhere in (tmp_path / "file" / "cache", "~nobody-of-this-name/cache"):
        monkeypatch.setenv("WORKSHOP_CACHE", str(nowhere))
        preload.compilation_cache.cache_clear()
        assert os.path.isdir(preload.compilation_cache()) and "workshop-xla-" in preload.compilation_cache()
