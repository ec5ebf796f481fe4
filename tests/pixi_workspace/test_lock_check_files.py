"""`workshop lock-check` on files that Pixi rejects or reads leniently: the verdicts that Pixi's source gives.

Each case names the file and line of Pixi 0.77.0 that decides it (paths below `crates/`).
"""

from __future__ import annotations

import pytest
import small_workspace
from small_workspace import (
    CONDA,
    DEPS,
    ENVS,
    LOCK,
    MANIFEST,
    NP,
    OLD,
    OUT,
    PIXI_TOML,
    SAT,
    TOML,
    UP,
    WEB,
    WS,
    L,
    T,
    report_of,
)

from pixi_workspace.fit import lockcheck

# (what, file, find, replace, verdict, where Pixi decides it)
CASES = [
    # the lock as a file
    (
        "version 6 with the rows of version 7",
        L,
        "version: 7\n",
        "version: 6\n",
        LOCK,
        "rattler_lock: version 6 knows bare subdirs only",
    ),
    ("version 8: treated as missing", L, "version: 7\n", "version: 8\n", OUT, "pixi_core/src/lock_file/update.rs:202"),
    ("version in words", L, "version: 7\n", "version: seven\n", LOCK, "rattler_lock/src/parse/mod.rs"),
    (
        "a row without its package",
        L,
        "- conda: " + f"{CONDA}/linux-64/libblas-3.9.0-5_h.conda\n  sha256",
        "- conda: https://example.org/x-1-0.conda\n  sha256",
        LOCK,
        "rattler_lock/src/parse/deserialize.rs",
    ),
    (
        "a comment in the lock",
        L,
        "environments:\n",
        "# by hand\nenvironments:\n",
        UP,
        "pixi_core/src/lock_file/update.rs:435",
    ),
    (
        "the build numbers of a package changed",
        L,
        "numpy-2.1.0-py312_0",
        "numpy-2.1.0-py313_0",
        UP,
        f"{SAT}/platform.rs:1396",
    ),
    # the manifest as a file
    ("name missing", T, 'name = "small"\n', "", UP, f"{TOML}/workspace.rs:97"),
    ("channels missing", T, 'channels = ["conda-forge"]\n', "", MANIFEST, f"{TOML}/workspace.rs:332"),
    ("the table under its old name", T, WS, "[project]\n", UP, f"{TOML}/manifest.rs:880"),
    ("both names", T, DEPS, "[project]\nchannels = []\n\n" + DEPS, MANIFEST, f"{TOML}/manifest.rs:874"),
    (
        "workspace on one line",
        T,
        PIXI_TOML,
        'workspace = { channels = ["conda-forge"], platforms = ["linux-64"] }\n',
        MANIFEST,
        "pixi_manifest/src/discovery.rs:461",
    ),
    ("a subdir that is none", T, '"linux-64",', '"linux-65",', MANIFEST, f"{TOML}/platform.rs:211"),
    ("a platform twice", T, '"linux-64", {', '"linux-64", "linux-64", {', MANIFEST, f"{TOML}/workspace.rs:51"),
    (
        "a platform called after a family",
        T,
        'name = "gpu"',
        'name = "linux"',
        MANIFEST,
        "pixi_manifest/src/platform.rs:116",
    ),
    ("cuda without quotes", T, 'cuda = "12.0"', "cuda = 12.0", MANIFEST, f"{TOML}/platform.rs:505"),
    (
        "a compute capability alone",
        T,
        'cuda = "12.0"',
        '__cuda_arch = "8.6"',
        MANIFEST,
        "pixi_manifest/src/platform.rs:426",
    ),
    ("an unknown processor", T, 'cuda = "12.0"', 'archspec = "x86-64"', MANIFEST, "pixi_manifest/src/platform.rs:856"),
    (
        "a feature called default",
        T,
        "[feature.gpu]\n",
        "[feature.default.dependencies]\n\n[feature.gpu]\n",
        MANIFEST,
        f"{TOML}/manifest.rs:327",
    ),
    (
        "a feature twice in an environment",
        T,
        '["gpu"]\nweb',
        '["gpu", "gpu"]\nweb',
        MANIFEST,
        f"{TOML}/manifest.rs:469",
    ),
    (
        "an environment in capitals",
        T,
        'gpu = ["gpu"]',
        'GPU = ["gpu"]',
        MANIFEST,
        "pixi_manifest/src/environment.rs:128",
    ),
    ("an empty environment", T, ENVS, ENVS + "empty = {}\n", MANIFEST, f"{TOML}/environment.rs:220"),
    (
        "a dependency twice, in capitals",
        T,
        NP,
        NP + '\nNumPy = "*"',
        MANIFEST,
        "pixi_manifest/src/utils/package_map.rs:249",
    ),
    ("a version as a number", T, NP, "numpy = 2", MANIFEST, "pixi_spec/src/toml.rs:1458"),
    ("a version that is cut off", T, NP, 'numpy = ">="', MANIFEST, "pixi_spec/src/toml.rs:1485"),
    ("an unknown key of a dependency", T, NP, 'numpy = { versoin = "2" }', MANIFEST, "pixi_spec/src/toml.rs:1247"),
    (
        "a source dependency without the preview",
        T,
        NP,
        'numpy = { path = "./numpy" }',
        MANIFEST,
        "pixi_manifest/src/utils/package_map.rs:51",
    ),
    ("an empty dependency table", T, NP, "numpy = {}", MANIFEST, "pixi_spec/src/toml.rs:740"),
    (
        "a PyPI version without an operator",
        T,
        WEB,
        'flask = "3.0.3"\n',
        MANIFEST,
        "pixi_pypi_spec/src/version_or_star.rs:23",
    ),
    (
        "a PyPI version beside a path",
        T,
        WEB,
        'flask = { version = "*", path = "." }\n',
        MANIFEST,
        "pixi_pypi_spec/src/toml.rs:119",
    ),
    (
        "two features, two indexes",
        T,
        ENVS,
        '[feature.a.pypi-options]\nindex-url = "https://a.org/simple"\n\n[feature.b.pypi-options]\nindex-url = "https://b.org/simple"\n\n'
        + ENVS
        + 'ab = ["a", "b"]\n',
        MANIFEST,
        f"{TOML}/manifest.rs:518",
    ),
    (
        "a task with an unknown key",
        T,
        'description = "Say hello"',
        'describe = "Say hello"',
        MANIFEST,
        f"{TOML}/task.rs:260",
    ),
    (
        "an argument with a dash",
        T,
        'description = "Say hello"',
        'args = ["a-b"]',
        MANIFEST,
        "pixi_manifest/src/task.rs:396",
    ),
    (
        "a default outside its choices",
        T,
        'description = "Say hello"',
        'args = [{ arg = "a", default = "x", choices = ["y"] }]',
        MANIFEST,
        f"{TOML}/task.rs:80",
    ),
    ("a date without quotes", T, WS, WS + "exclude-newer = 2026-01-01\n", MANIFEST, "toml-span 0.7 de.rs: no dates"),
    ("a date that is none", T, WS, WS + 'exclude-newer = "soon"\n', MANIFEST, "pixi_spec/src/exclude_newer.rs:177"),
    ("a readme that does not exist", T, WS, WS + 'readme = "NONE.md"\n', MANIFEST, f"{TOML}/workspace.rs:172"),
    ("a licence that is none", T, WS, WS + 'license = "Mine own"\n', MANIFEST, f"{TOML}/workspace.rs:157"),
    (
        "a package table without the preview",
        T,
        DEPS,
        '[package]\nname = "x"\n\n' + DEPS,
        MANIFEST,
        f"{TOML}/manifest.rs:595",
    ),
    ("requires-pixi met", T, WS, WS + 'requires-pixi = ">=0.71,<1"\n', UP, "pixi_manifest/src/discovery.rs:276"),
    (
        "requires-pixi too high goes before other errors",
        T,
        WS,
        WS + 'requires-pixi = ">=1"\nnonsense = 1\n',
        OLD,
        "pixi_manifest/src/discovery.rs:490",
    ),
    ("requires-pixi too low", T, WS, WS + 'requires-pixi = "<0.70"\n', OLD, "pixi_manifest/src/discovery.rs:276"),
    (
        "requires-pixi without an operator",
        T,
        WS,
        WS + 'requires-pixi = "0.77"\n',
        MANIFEST,
        "pixi_manifest/src/discovery.rs:262",
    ),
    ("CRLF in the manifest", T, "\n", "\r\n", UP, "toml-span 0.7 tokens.rs: CrlfFold"),
    ("CRLF in the lock", L, "\n", "\r\n", UP, "rattler_lock/src/parse/mod.rs: YAML"),
    (
        "a byte order mark that hides [workspace]",
        T,
        PIXI_TOML,
        "\ufeff" + PIXI_TOML,
        MANIFEST,
        "pixi_manifest/src/discovery.rs:461",
    ),
    (
        "a byte order mark before a comment",
        T,
        PIXI_TOML,
        "\ufeff# mine\n" + PIXI_TOML,
        UP,
        "toml-span 0.7 tokens.rs: eats the mark",
    ),
    ("an escape of TOML 1.1", T, '"echo hello"', '"echo \\e[1m"', UP, "toml-span 0.7.1 tokens.rs:387"),
]


@pytest.mark.parametrize(("what", "file", "find", "replace", "verdict", "source"), CASES, ids=[c[0] for c in CASES])
def test_agrees_with_pixis_source(what, file, find, replace, verdict, source, tmp_path):
    small_workspace.write_edited(tmp_path, file, find, replace)
    assert lockcheck.judge(tmp_path).verdict == verdict, f"{source}\n{report_of(tmp_path)}"
