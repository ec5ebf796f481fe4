"""Findings about the locked builds, environment by environment and platform by platform. By `environments`' rules."""

from __future__ import annotations

import re

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


def build_findings(manifest: Manifest, envs: list[PlatformEnvironment]) -> list[Finding]:
    """What is odd about the packages that are locked for each environment and platform."""
    found = []
    for env in envs:
        here = ((env.environment, env.platform.name),)
        for oddity in needs.oddities(env, environments.same_environment(env, envs)):
            rule, fix = next(entry for words, entry in RULE_OF_ODDITY.items() if oddity.startswith(words))
            package = named.group(1) if (named := re.search(r": (\S+)", oddity)) else "cuda-version"
            facts = {
                "subdir": env.platform.subdir,
                "platform": env.platform.name,
                "major": (needs.built_for(env) or "").partition(".")[0],
            }
            fix = fix.format(package=package, **facts) + ("" if rule == "much-older" else "; then: pixi lock")
            found.append(finding(rule, manifest.path, _line(manifest, env, package), oddity, fix, here))
        for package, why in needs.source_archives(env, envs):
            fix = f"require a release with a wheel, or use the conda package: pixi add {package.name}"
            reason = f"{package} is built from its source archive, with tools that the lock does not hold: {why}"
            line = _line(manifest, env, package.name)
            found.append(finding("built-on-installation", manifest.path, line, reason, fix, here))
        for package in env.packages:
            if package.kind == "pypi" and package.url.startswith("git+"):
                reason = f"{package} is built from {package.url}, with tools that the lock does not hold"
                fix = f"require a release with a wheel, or use the conda package: pixi add {package.name}"
                line = _line(manifest, env, package.name)
                found.append(finding("built-on-installation", manifest.path, line, reason, fix, here))
            elif package.kind == "conda-source":
                reason = f"{package.name} is built from its sources ({package.url}): compare the built files yourself"
                fix = "to have the same file everywhere, publish the package in a channel: pixi publish"
                line = _line(manifest, env, package.name)
                found.append(finding("built-from-source", manifest.path, line, reason, fix, here))
    return found


def _line(manifest: Manifest, env: PlatformEnvironment, package: str) -> int:
    features = tuple(feature.name for feature in manifest.environments[env.environment].features)
    line = places.line_of_dependency(manifest.path, package, features)
    return line or places.line_of_environment(manifest.path, env.environment) or 1
