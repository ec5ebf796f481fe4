"""Single entries of a manifest: channels, platforms with virtual packages, system requirements, dates."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pixi_workspace import platforms
from pixi_workspace.manifest.model import Channel
from pixi_workspace.manifest.spec import conda_name, pypi_name
from pixi_workspace.manifest.toml import ManifestError, check_keys, nearest, problem, take, take_table
from pixi_workspace.platforms import FRIENDLY, Platform, VirtualPackage

SUBDIRS = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64", "win-arm64")  # to suggest
UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "y": 31557600, "M": 2630016}


def read_channels(values: list[Any], where: str) -> tuple[Channel, ...]:
    found: dict[str, Channel] = {}
    for value in values:
        table = {"channel": value} if isinstance(value, str) else value
        if not isinstance(table, dict) or not isinstance(table.get("channel"), str):
            raise problem(where=where, expected="names, URLs, or tables with a channel", found=f"{value!r}")
        check_keys(table, "channel priority exclude-newer", where)
        priority = take(table, "priority", int, where) or 0
        cutoff = read_cutoff(table.get("exclude-newer"), where)
        found.setdefault(table["channel"], Channel(table["channel"], priority, cutoff))
    return tuple(found.values())


def read_platforms(values: list[Any], where: str) -> tuple[Platform, ...]:
    found: list[Platform] = []
    for value in values:
        platform = _platform(value, where)
        if any(p.name == platform.name for p in found):
            raise problem(where=where, expected="every platform once", found=f"'{platform.name}' twice")
        found.append(platform)
    return tuple(found)


def _platform(value: Any, where: str) -> Platform:
    """A bare subdir, or a table of a subdir, a name and virtual packages."""
    if isinstance(value, str):
        if not platforms.is_subdir(value):
            raise problem(where=where, expected="conda subdirs such as linux-64", found=f"'{value}'{_near(value)}")
        return platforms.bare(value)
    if not isinstance(value, dict):
        raise problem(where=where, expected="strings or tables", found=f"{value!r}")
    raw = [k for k in value if k.startswith("__")]
    check_keys({k: v for k, v in value.items() if k not in raw}, f"name platform {' '.join(FRIENDLY)} osx", where)
    name, subdir = take(value, "name", str, where), take(value, "platform", str, where)
    declared = _cuda(value.get("cuda"), where) if "cuda" in value else []
    for key, conda_name_ in FRIENDLY.items():
        if key == "cuda":
            continue
        spelled = [k for k in (key, "osx" if key == "macos" else key) if k in value]
        if len(set(spelled)) > 1:
            raise problem(where=where, expected="one of macos and osx", found="both")
        if spelled:
            declared.append(_virtual(conda_name_, value[spelled[0]], where))
    for key in raw:
        if any(d.name == key.lower() for d in declared):
            raise problem(where=where, expected=f"{key} once", found="it stands under its short name too")
        version, _, build = str(value[key]).partition("=")
        if not isinstance(value[key], str) or not platforms.is_version(version):
            raise problem(where=f"{where} {key}", expected='"version" or "version=build"', found=f"{value[key]!r}")
        if key.lower() == "__archspec" and build and build not in platforms.ARCHSPEC_NAMES:
            raise _unknown_archspec(build, where)
        declared.append(VirtualPackage(key.lower(), version, build))
    subdir = name if subdir is None else subdir
    if subdir is None:
        raise problem(where=where, expected="a name or a platform in every table", found=f"{value!r}")
    if not platforms.is_subdir(subdir):
        raise problem(where=where, expected="a conda subdir as `platform`", found=f"'{subdir}'{_near(subdir)}")
    name = platforms.derived_name(subdir, declared) if name is None else name
    wrong = platforms.name_problem(name)
    if wrong:
        raise problem(where=where, expected="a name of letters, digits and '-'", found=f"'{name}': {wrong}")
    try:
        return platforms.build(name, subdir, declared)
    except ValueError as error:
        raise problem(
            where=where, expected="a platform that Pixi can tell from its subdir", found=str(error)
        ) from error


def _near(subdir: str) -> str:
    """`; did you mean 'x'?` for a subdir that does not exist, or nothing. Docker calls linux-aarch64 linux-arm64."""
    if subdir in ("linux-arm64", "linux-arm", "aarch64"):
        return "; did you mean 'linux-aarch64'?"
    return nearest(subdir, SUBDIRS)


def _cuda(value: Any, where: str) -> list[VirtualPackage]:
    """`cuda = "12.0"`, or a table of driver version and compute capability."""
    if not isinstance(value, dict):
        return [_virtual("__cuda", value, where)]
    check_keys(value, "driver arch", f"{where} cuda")
    if "driver" not in value:
        raise problem(where=f"{where} cuda", expected="a driver version, and perhaps arch", found=f"{value!r}")
    found = [_virtual("__cuda", value["driver"], where)]
    return found + ([_virtual("__cuda_arch", value["arch"], where)] if "arch" in value else [])


def _virtual(conda_name_: str, value: Any, where: str) -> VirtualPackage:
    if conda_name_ == "__archspec":
        if value not in platforms.ARCHSPEC_NAMES:
            raise _unknown_archspec(value, where)
        return VirtualPackage(conda_name_, "0", value)
    if not isinstance(value, str) or not platforms.is_version(value):
        key = next((short for short, name in FRIENDLY.items() if name == conda_name_), conda_name_)
        raise problem(where=f"{where} {key}", expected='a version in quotes, such as "12.0"', found=f"{value!r}")
    return VirtualPackage(conda_name_, value)


def _unknown_archspec(value: Any, where: str) -> ManifestError:
    near = nearest(str(value).replace("-", "_"), platforms.ARCHSPEC_NAMES)
    return problem(
        where=f"{where} archspec", expected="a microarchitecture that archspec knows", found=f"{value!r}{near}"
    )


def read_system_requirements(table: dict[str, Any], prefix: str) -> tuple[VirtualPackage, ...]:
    """The deprecated table, as the virtual packages that it stands for (archspec is read and ignored)."""
    where = f"[{prefix}system-requirements]"
    check_keys(table, "macos linux cuda libc archspec", where)
    found = [
        _virtual(name, table[key], where)
        for key, name in (("linux", "__linux"), ("cuda", "__cuda"), ("macos", "__osx"))
        if key in table
    ]
    take(table, "archspec", str, where)
    libc = table.get("libc")
    if isinstance(libc, dict):
        check_keys(libc, "family version", f"{where} libc")
        if "version" not in libc:
            raise problem(where=f"{where} libc", expected="a version", found=f"{libc!r}")
        found.append(_virtual(f"__{take(libc, 'family', str, where) or 'glibc'}", libc["version"], where))
    elif libc is not None:
        found.append(_virtual("__glibc", libc, where))
    return tuple(found)


def check_system_requirements(of_features: list[tuple[VirtualPackage, ...]], where: str) -> None:
    """Raise ManifestError for features that require two different C libraries."""
    families = sorted({v.name for found in of_features for v in found if v.name in platforms.LIBC})
    if len(families) > 1:
        raise problem(where=f"{where} features", expected="one kind of libc", found=" and ".join(families))


def read_cutoffs(root: dict[str, Any], key: str) -> dict[str, datetime]:
    """`[exclude-newer]` and `[pypi-exclude-newer]`: a date for each package."""
    table = take_table(root, key, "")
    name = pypi_name if key.startswith("pypi") else conda_name
    return {name(k, f"[{key}]"): _cutoff(v, f"[{key}] {k}") for k, v in table.items()}


def read_cutoff(value: Any, where: str) -> datetime | None:
    """`exclude-newer`, or None where it is not given."""
    return None if value is None else _cutoff(value, where)


def _cutoff(value: Any, where: str) -> datetime:
    """A date (the whole day counts), a time, or an age such as `7d`; UTC."""
    try:
        if re.fullmatch(r"(\s*\d+\s*[A-Za-z]+)+\s*", value):
            seconds = 0
            for amount, unit in re.findall(r"(\d+)\s*([A-Za-z]+)", value):
                short = "M" if unit in ("M", "month", "months") else "s" if unit in ("sec", "secs") else unit[0].lower()
                seconds += int(amount) * (0 if unit in ("ms", "us", "ns") else UNITS[short])
            return datetime.now(UTC) - timedelta(seconds=seconds)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return datetime.fromisoformat(value).replace(tzinfo=UTC) + timedelta(days=1)
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (TypeError, ValueError, KeyError, OverflowError):
        pass
    raise problem(where=where, expected='a date "2026-08-01", a time with its zone, or an age "7d"', found=f"{value!r}")
