"""Manifests and locks that nest, repeat or grow without end, or hold what no reader expects."""

import attack
import pytest

HEAD = '[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
PROJECT = '[project]\nname = "x"\nversion = "1"\n[tool.pixi.workspace]\nchannels = ["a"]\nplatforms = ["linux-64"]\n'
LOCK = """version: 7
platforms:
- name: linux-64
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda
packages:
- conda: https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda
  sha256: 0000000000000000000000000000000000000000000000000000000000000000
  md5: 00000000000000000000000000000000
"""


def dependency(value):
    return f"{HEAD}[dependencies]\na = {value}\n"


def many(line, count):
    return "".join(line.format(i=i, before=i - 1, after=i + 1) for i in range(count))


def groups(lines):
    return f"[dependency-groups]\ng0 = ['a']\n{lines}{PROJECT}"


MANIFESTS = {
    "deep arrays": f"{HEAD}a = {'[' * 100_000}\n",
    "deep arrays, closed": f"{HEAD}a = {'[' * 50_000}{']' * 50_000}\n",
    "deep tables": f"{HEAD}a = {'{a=' * 100_000}\n",
    "arrays 200 deep": f"{HEAD}a = {'[' * 200}{']' * 200}\n",
    "a long key": f"{HEAD}{'a.' * 50_000}a = 1\n",
    "a long header": f"{HEAD}[{'a.' * 50_000}a]\n",
    "long headers": HEAD + many(f"[{'a.' * 60}b{{i}}]\n", 2000),
    "arrays of tables in arrays of tables": HEAD + "".join(f"[[{'.'.join(['a'] * (i + 1))}]]\n" for i in range(100)),
    "thousands of unknown keys": HEAD + many("k{i} = 1\n", 3_000),
    "a long unknown key": f"{HEAD}{'k' * 1_000_000} = 1\n",
    "thousands of features": HEAD + many("[feature.f{i}]\n", 2_000),
    "thousands of features, one unknown": HEAD + many("[feature.f{i}]\n", 2_000) + "[environments]\na = ['g']\n",
    "hundreds of environments": HEAD + "[environments]\n" + many("e{i} = []\n", 200),
    "hundreds of environments in one solve group": HEAD
    + "[environments]\n"
    + many("e{i} = {{ solve-group = 'g' }}\n", 200),
    "hundreds of platforms": HEAD.replace(
        '"linux-64"]', ", ".join(f'{{ name = "p{i}", platform = "linux-64", cuda = "{i}" }}' for i in range(150)) + "]"
    ),
    "one feature ten thousand times": HEAD + "[feature.f]\n[environments]\na = [" + "'f', " * 10_000 + "]\n",
    "many times many": HEAD
    + many("[feature.f{i}.dependencies]\na = '*'\n", 300)
    + "[environments]\n"
    + many("e{i} = [" + ", ".join(f"'f{i}'" for i in range(100)) + "]\n", 300),
    "thousands of channels": HEAD.replace('"conda-forge"', ", ".join(f'"c{i}"' for i in range(2_000))),
    "a version of brackets": dependency(f"'{'(' * 100_000}'"),
    "a version of brackets, closed": dependency(f"'{'(' * 50_000}>=1{')' * 50_000}'"),
    "a version of escaped brackets": dependency('"' + "\\u0028" * 50_000 + '"'),
    "a version of a hundred thousand parts": dependency(f"'{'>=1,' * 100_000}>=1'"),
    "a version of a hundred thousand choices": dependency(f"'{'>=1|' * 100_000}>=1'"),
    "a version of a million digits": dependency(f"'>={'1' * 1_000_000}'"),
    "a version of a million dots": dependency(f"'>={'1.' * 500_000}1'"),
    "a build of brackets": dependency(f"{{ version = '*', build = '{'(' * 50_000}' }}"),
    "a build that is a pattern": dependency("{ version = '*', build = '^(a+)+$' }"),
    "an integer of ten thousand digits": dependency("1" * 2_000),
    "an integer of ten thousand digits in hexadecimal": dependency("0x" + "f" * 2_000),
    "not a number": dependency("nan"),
    "infinite": dependency("inf"),
    "a date": dependency("1979-05-27"),
    "a time": dependency("07:32:00"),
    "a condition of brackets": dependency(f"{{ version = '*', when = '{'(' * 100_000}' }}"),
    "conditions inside one another": dependency(
        "{ version = '*', when = " + "{ all = [" * 60 + "'a'" + "] }" * 60 + " }"
    ),
    "a path with a zero byte": dependency('{ path = "\\u0000" }'),
    "a path without end": dependency(f"{{ path = '{'a/' * 100_000}' }}"),
    "a path to a device": dependency("{ path = '/dev/zero' }"),
    "a path to itself": dependency("{ path = '.' }"),
    "a URL with an open bracket": dependency("{ url = 'http://[' }"),
    "a name of a million characters": f"{HEAD}[dependencies]\n{'a' * 1_000_000} = '*'\n",
    "requires-pixi of brackets": HEAD.replace("name", f"requires-pixi = '{'(' * 100_000}'\nname", 1),
    "requires-pixi of digits": HEAD.replace("name", f"requires-pixi = '>={'9' * 100_000}'\nname", 1),
    "requires-pixi of a later one": HEAD.replace("name", "requires-pixi = '>=0.77.1'\nname", 1)
    + many("k{i} = 1\n", 3_000),
    "a PyPI version of commas": f"{HEAD}[pypi-dependencies]\na = '{'>=1,' * 3_000}>=1'\n",
    "a PyPI version of digits": f"{HEAD}[pypi-dependencies]\na = '>={'1' * 100_000}'\n",
    "a marker of brackets": f"{HEAD}[pypi-dependencies]\na = {{ version = '*', env-markers = '{'(' * 50_000}' }}\n",
    "a task of brackets": f"{HEAD}[tasks]\na = '{'$(' * 50_000}'\n",
    "tasks that depend on one another": HEAD
    + "[tasks]\n"
    + many("t{i} = {{ depends-on = ['t{after}', 't{after}'] }}\n", 200),
    "empty lines": HEAD + "\n" * 300_000,
    "blank lines": HEAD + "\n" + " " * 300_000 + "\n",
    "open brackets in lines": HEAD + "[\n" * 100_000,
    "comments": HEAD + "#\n" * 100_000,
    "a comment": HEAD + "#" * 1_000_000,
    "control characters": HEAD + "[\x1b[2J]\n",
    "a zero byte": HEAD + "\0",
    "half a character": HEAD + 'a = "\\ud800"\n',
    "other line breaks": HEAD.replace("\n", "\r"),
    "nothing": "",
    "a package that takes its version from itself": '[package]\nname = "x"\nversion = { workspace = true }\n[package.build]\n',
    "a condition of a package": '[workspace]\nchannels = []\nplatforms = []\npreview = ["pixi-build"]\n[package]\nname = "x"\n'
    f'[package.build]\nbackend = {{ name = "pixi-build-python", version = "*" }}\n[package.run-dependencies."if({"(" * 50_000})"]\na = "*"\n',
}
PYPROJECTS = {
    "groups that double": groups(many("g{after} = [{{ include-group = 'g{i}' }}, {{ include-group = 'g{i}' }}]\n", 60)),
    "a chain of groups": groups(many("g{after} = [{{ include-group = 'g{i}' }}]\n", 500)),
    "a circle of groups": "[dependency-groups]\na = [{ include-group = 'b' }]\nb = [{ include-group = 'a' }]\n"
    + PROJECT,
    "a group of itself": "[dependency-groups]\na = [{ include-group = 'a' }]\n" + PROJECT,
    "a group of thousands of names": "[dependency-groups]\na = [" + "'b'," * 2_000 + "]\n" + PROJECT,
    "a group with a zero": '[dependency-groups]\na = ["\\u0000"]\n' + PROJECT,
    "a group that is no name": "[dependency-groups]\na = [{ include-group = 7 }]\n" + PROJECT,
    "extras that double": PROJECT
    + "[project.optional-dependencies]\ne0 = ['a']\n"
    + many("e{after} = ['x[e{i}]', 'x[e{i}]', 'x[e{i},e{i}]']\n", 60),
    "a chain of extras": PROJECT
    + "[project.optional-dependencies]\ne0 = ['a']\n"
    + many("e{after} = ['x[e{i}]']\n", 500),
    "a circle of extras": PROJECT + "[project.optional-dependencies]\na = ['x[b]']\nb = ['x[a]']\n",
    "a requirement of brackets": PROJECT.replace("version", f"dependencies = ['a; {'(' * 50_000}']\nversion", 1),
    "a requirement of ands": PROJECT.replace(
        "version", "dependencies = ['a; " + 'os_name == "x" and ' * 3000 + 'os_name == "x"' + "']\nversion", 1
    ),
    "a requirement of thousands of extras": PROJECT.replace(
        "version", f"dependencies = ['a[{'b,' * 3_000}b]']\nversion", 1
    ),
    "a requirement of a million spaces": PROJECT.replace(
        "version", f"dependencies = ['a{' ' * 1_000_000}']\nversion", 1
    ),
    "requires-python of commas": PROJECT.replace("version", f"requires-python = '{'>=3,' * 3_000}>=3'\nversion", 1),
    "an address with an open bracket": PROJECT.replace("version", "dependencies = ['a @ http://[']\nversion", 1),
}


def run_all(folder, said=""):
    """The three commands about a workspace; each gives an answer."""
    for command, codes in (("lock-check", (1,)), ("environments", (0, 1))):
        done = attack.call(command, folder)
        attack.answered(done, said, codes=codes)
        assert len(done.stdout + done.stderr) < 100_000, len(done.stdout + done.stderr)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(tmp_path, name):
    (tmp_path / "pixi.toml").write_bytes(MANIFESTS[name].encode("utf-8", "surrogatepass"))
    (tmp_path / "pixi.lock").write_text(LOCK)
    run_all(tmp_path)


@pytest.mark.parametrize("name", PYPROJECTS)
def test_pyprojects(tmp_path, name):
    (tmp_path / "pyproject.toml").write_text(PYPROJECTS[name])
    (tmp_path / "pixi.lock").write_text(LOCK)
    run_all(tmp_path)


URL = "https://conda.anaconda.org/conda-forge/noarch"
DEPENDS = LOCK + "  depends:\n"
WHEEL = LOCK.replace(
    "packages:\n-", "packages:\n- pypi: https://x.invalid/b-1-py3-none-any.whl\n  name: b\n  version: '1'\nREST-", 1
).replace("      - conda", "      - pypi: https://x.invalid/b-1-py3-none-any.whl\n      - conda", 1)


def wheel(rest):
    return WHEEL.replace("REST", rest)


LOCKS = {
    "open brackets": LOCK + "x: " + "[" * 100_000,
    "open braces": LOCK + "x: " + "{" * 100_000,
    "braces with keys": LOCK + "x: " + "{a: " * 100_000,
    "dashes": LOCK + "x:\n  " + "- " * 100_000,
    "question marks": LOCK + "x:\n  " + "? " * 100_000,
    "mappings below one another": LOCK + "x:\n" + "".join(" " * i + "a:\n" for i in range(1, 1500)),
    "a bomb of aliases": LOCK
    + "x0: &x0 [a, a]\n"
    + "".join(f"x{i + 1}: &x{i + 1} [*x{i}, *x{i}, *x{i}, *x{i}]\n" for i in range(40)),
    "an alias of itself": LOCK + "x: &x [*x]\n",
    "an alias that is not there": LOCK + "x: *y\n",
    "thousands of aliases": LOCK + "a: &a b\nx:\n" + "- *a\n" * 100_000,
    "anchors": LOCK + "x:\n" + many("- &a{i} b\n", 2_000),
    "tags": LOCK + "x: " + "!a " * 50_000 + "b\n",
    "a tag for Python": LOCK + "x: !!python/object/apply:os.system [exit]\n",
    "documents": LOCK + "---\n" * 100_000,
    "a long line": LOCK + "x: " + "a" * 1_000_000 + "\n",
    "a long key": LOCK + "a" * 1_000_000 + ": x\n",
    "a dependency of brackets": DEPENDS + f"  - a {'(' * 100_000}\n",
    "a dependency of brackets, closed": DEPENDS + f"  - a {'(' * 50_000}>=1{')' * 50_000}\n",
    "a dependency of escaped brackets": DEPENDS + '  - "a ' + "\\x28" * 50_000 + '"\n',
    "a dependency of a hundred thousand choices": DEPENDS + f"  - a {'>=1|' * 100_000}>=1\n",
    "thousands of dependencies": DEPENDS + many("  - a{i}\n", 2_000),
    "a dependency that is a mapping": DEPENDS + "  - {a: b}\n",
    "a dependency that is null": DEPENDS + "  - null\n",
    "a marker of brackets": wheel(f"  requires_dist:\n  - c ; {'(' * 100_000}\n"),
    "a marker of brackets, closed": wheel(f"  requires_dist:\n  - c ; {'(' * 50_000}os_name == 'x'{')' * 50_000}\n"),
    "a marker of brackets over lines": wheel("  requires_dist:\n  - c ;\n" + "    (\n" * 50_000 + "    a\n"),
    "a marker of ands": wheel("  requires_dist:\n  - c ; " + "os_name == 'x' and " * 3000 + "os_name == 'x'\n"),
    "requires_python of commas": wheel(f"  requires_python: '{'>=3,' * 3_000}>=3'\n"),
    "a version of digits": LOCK.replace("a-1-0", f"a-{'1' * 200_000}-0"),
    "a version of dots": LOCK.replace("a-1-0", f"a-{'1.' * 100_000}1-0"),
    "an address of slashes": LOCK.replace("noarch/a", "noarch" + "/" * 100_000 + "a"),
    "an address with an open bracket": LOCK.replace("https://conda.anaconda.org/conda-forge/noarch", "http://["),
    "the same package thousands of times": LOCK.replace(
        f"      - conda: {URL}/a-1-0.conda\n", f"      - conda: {URL}/a-1-0.conda\n" * 10_000
    ),
    "hundreds of environments": LOCK.replace(
        "packages:\n-",
        "".join(f"  e{i}:\n    channels: []\n    packages: {{}}\n" for i in range(150)) + "packages:\n-",
        1,
    ),
    "half a million lines": LOCK + "x:\n" + "- a\n" * 500_000,
    "half a million commas": LOCK + "x: [" + "a," * 500_000 + "]\n",
    "merge markers in every line": "<<<<<<< a\n" * 100_000,
    "version 99999999999999999999": LOCK.replace("version: 7", "version: " + "9" * 20),
    "a version of ten thousand digits": LOCK.replace("version: 7", "version: " + "9" * 2_000),
    "version -1": LOCK.replace("version: 7", "version: -1"),
    "version 8": LOCK.replace("version: 7", "version: 8"),
    "a version that is a list": LOCK.replace("version: 7", "version: [7]"),
    "platforms that are a number": LOCK.replace("- name: linux-64", "  7", 1),
    "null everywhere": "version: 7\nplatforms: null\nenvironments: null\npackages: null\n",
    "a list": "- a\n" * 1000,
    "a number": "7",
    "tabs": LOCK.replace("  ", "\t"),
    "control characters": LOCK + "\x1b[2J: a\n",
    "a byte order mark": "\ufeff" + LOCK,
    "nothing": "",
}


@pytest.mark.parametrize("name", LOCKS)
def test_locks(tmp_path, name):
    (tmp_path / "pixi.toml").write_text(f"{HEAD}[dependencies]\na = '*'\n")
    (tmp_path / "pixi.lock").write_text(LOCKS[name])
    for command in ("lock-check", "environments"):
        done = attack.call(command, tmp_path)
        attack.answered(done)
        assert len(done.stdout + done.stderr) < 100_000, len(done.stdout + done.stderr)
