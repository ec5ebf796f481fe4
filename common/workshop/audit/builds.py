"""Findings about the locked builds, environment by environment and platform by platform. By `environments`' rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pixi_workspace import Manifest, environments, needs
from pixi_workspace.needs import PlatformEnvironment
from workshop.audit import places
from workshop.audit.findings import Finding, finding

DECLARE_CUDA = 'in `platforms`: {{ name = "{subdir}-cuda", platform = "{subdir}", cuda = "{major}" }}'
# The words that an oddity of `pixi_workspace.needs` begins with, the rule, and what to write.
RULE_OF_ODDITY = {
    "CPU BUILD": ("cpu-build-for-cuda", 'require a build for CUDA: {package} = {{ version = "*", build = "*cuda*" }}'),
    "CUDA WHEEL": ("cuda-build-without-cuda", DECLARE_CUDA),
    "CUDA BUILD": ("cuda-build-without-cuda", DECLARE_CUDA),
    "BUILT FOR CUDA": ("cuda-newer-than-platform", 'declare cuda = "{major}" there, or require an older cuda-version'),
    "TWICE": ("package-twice", "require one of them only; if another wheel requires the wheel, that one"),
    "MUCH OLDER": ("much-older", "compare results across these platforms before you mix them"),
}


def build_findings(manifest: Manifest, envs: list[PlatformEnvironment]) -> Iterator[Finding]:
    """What is odd about the packages that are locked for each environment and platform."""
    for env in envs:
        here = ((env.environment, env.platform.name),)
        for oddity in needs.oddities(env, environments.same_environment(env, envs)):
            rule, fix = next(entry for words, entry in RULE_OF_ODDITY.items() if oddity.startswith(words))
            package = named[1] if (named := re.search(r": (\S+)", oddity)) else "cuda-version"
            major = (needs.built_for(env) or "").partition(".")[0]
            fix = fix.format(package=package, subdir=env.platform.subdir, major=major)
            fix += "" if rule == "much-older" else "; then: pixi lock"
            yield finding(rule, *_place(manifest, env, package), oddity, fix, here)
        archives = {package.url: why for package, why in needs.source_archives(env, envs)}
        for package in env.packages:
            where = partial(_place, manifest, env, package.name)
            if package.url in archives or (package.kind == "pypi" and package.url.startswith("git+")):
                origin = archives.get(package.url, f"it comes from {package.url}")
                reason = f"{package} is built from its sources, with tools that the lock does not hold: {origin}"
                fix = f"require a release with a wheel, or use the conda package: pixi add {package.name}"
                yield finding("built-on-installation", *where(), reason, fix, here)
            elif package.kind == "conda-source":
                reason = f"{package.name} is built from its sources ({package.url}): compare the built files yourself"
                fix = "for the same file everywhere, publish the package in a channel: pixi publish"
                yield finding("built-from-source", *where(), reason, fix, here)


def _place(manifest: Manifest, env: PlatformEnvironment, name: str) -> tuple[Path, int]:
    """File and line: where the manifest requires the package; else where the lock describes it."""
    features = tuple(feature.name for feature in manifest.environments[env.environment].features)
    if line := places.line_of_dependency(manifest.path, name, features):
        return manifest.path, line
    package = next((package for package in env.packages if package.name == name), None)
    if package is None or not package.url:
        return manifest.path, places.line_of_environment(manifest.path, env.environment) or 1
    lock = manifest.path.with_name("pixi.lock")
    return lock, places.line_of_url(lock, package.url)
