"""Dockerfiles and Apptainer definitions that would double, nest or repeat without end."""

import attack
import pytest

from workshop.containers import check

MANIFEST = '[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
FROM = "FROM debian:12\n"
NAMES = [f"A{i}" for i in range(60)]


def doubling(word, first="A0=aaaaaaaaaa"):
    """Sixty variables, each twice as long as the one before."""
    return f"{word} {first}\n" + "".join(
        f"{word} {name}=${before}${before}\n" for before, name in zip(NAMES, NAMES[1:], strict=False)
    )


def run(script):
    return f"{FROM}RUN {script}\n"


# What the Dockerfile contains, and what the message contains; nothing: any answer will do.
DOCKERFILES = {
    "doubling ARG before FROM": (doubling("ARG") + "FROM $A59\n", "characters"),
    "doubling ARG": (FROM + doubling("ARG"), "characters"),
    "doubling ENV": (FROM + doubling("ENV"), "characters"),
    "doubling LABEL": (FROM + doubling("ENV", "A0=a").replace("ENV", "LABEL"), ""),
    "doubling in one ENV": (FROM + "ENV A=aaaaaaaa\n" + "ENV A=$A$A$A$A$A$A$A$A\n" * 12, "characters"),
    "doubling in a shell": (run("A=aa; " + "A=$A$A; " * 60 + "pixi install"), "characters"),
    "doubling by export": (run("export A=aa; " + "export A=$A$A; " * 60 + "pixi install"), "characters"),
    "doubling by default values": (FROM + "ENV A=aa\n" + "ENV A=${B:-$A$A}\n" * 60, "characters"),
    "a long value many times": (FROM + f"ENV A={'a' * 30000}\nRUN echo {'$A' * 2000}\n", ""),
    "a long value many times in COPY": (FROM + f"ENV A={'a' * 30000}\nCOPY {'$A' * 2000} /x\n", "characters"),
    "nested $(": (run("$(" * 20000), ""),
    "nested $( closed": (run("$(" * 20000 + ")" * 20000), ""),
    "nested ((": (run("((" * 30000), ""),
    "nested (( closed": (run("((" * 15000 + "))" * 15000), ""),
    "nested $((": (run("$((" * 20000), ""),
    "nested eval": (run("eval " * 12000 + "pixi install"), ""),
    "nested eval with quotes": (run('eval "' * 10000), ""),
    "nested sudo": (run("sudo " * 12000 + "pixi install"), ""),
    "nested sh -c": (run("sh -c " * 10000), ""),
    "nested ${": (run("${a:-" * 13000), ""),
    "nested ${ closed": (FROM + f"ENV A={'${a:-' * 10000}{'}' * 10000}\n", ""),
    "backquotes": (run("`a`" * 20000), ""),
    "ten thousand $(...)": (run("a $(b) " * 9000), ""),
    "sixty thousand pipes": (run("|" * 60000), ""),
    "pipes after a heredoc": (run("cat <<E " + "|" * 60000 + "\nx\nE"), ""),
    "twenty thousand heredocs": (run("cat " + "<<E " * 15000 + "\n" + "E\n" * 15000), ""),
    "heredocs in a heredoc": (run("sh <<E\n" + "cat <<F\nx\nF\n" * 9000 + "E"), ""),
    "a heredoc of shell without end": (run("bash <<E\n" + "pixi install\n" * 50_000 + "E"), "KiB"),
    "thirty thousand commands": (run("a;" * 15000 + "pixi install"), "2,000 commands"),
    "ten thousand variables in a shell": (run("".join(f"a{i}=1;x;" for i in range(900)) + "pixi install"), ""),
    "thirteen thousand environments": (run("pixi install " + "-e a " * 12000), ""),
    "a zero byte by JSON": (FROM + 'RUN ["sh", "-c", "\\u00001\\u0000 pixi install"]\n', ""),
    "deep JSON": (FROM + "RUN " + "[" * 60000 + "\n", ""),
    "deep JSON closed": (FROM + "CMD " + "[" * 30000 + "]" * 30000 + "\n", ""),
    "ten thousand variables": (FROM + "ENV " + " ".join(f"A{i}=1" for i in range(6000)) + "\n", "at most 1,000"),
    "ninety thousand instructions": (FROM + "RUN a\n" * 90_000, "instructions"),
    "ninety thousand ENV": (FROM + "".join(f"ENV A{i}=1\n" for i in range(90_000)), "instructions"),
    "300 stages each from the last": (
        FROM.strip() + " AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\nRUN pixi install\n" for i in range(300)),
        "",
    ),
    "990 stages each from the last": (
        FROM.strip() + " AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\n" for i in range(990)),
        "",
    ),
    "300 stages, each copies the last twice": (
        "FROM debian:12 AS s0\nWORKDIR /w\nRUN pixi install\n"
        + "".join(f"FROM debian:12 AS s{i + 1}\nCOPY --from=s{i} / /a\nCOPY --from=s{i} / /b\n" for i in range(300)),
        "",
    ),
    "a stage from itself": ("FROM a AS a\nFROM a AS a\nCOPY --from=a / /\n", ""),
    "stars in a pattern": (FROM + f"ENV A={'a' * 30000}\nENV B=${{A#{'*a' * 3000}*b}}\n", ""),
    "stars in a short pattern": (FROM + f"ENV A={'a' * 900}\nENV B=${{A##{'*a' * 90}*b}}\n", ""),
    "stars in a replacement": (FROM + f"ENV A={'a' * 900}\nENV B=${{A//{'*a' * 90}*b/x}}\n", ""),
    "a bracket in a pattern": (FROM + f"ENV A=aaa\nENV B=${{A#{'[' * 500}}}\n", ""),
    "ninety thousand lines of a continued one": (FROM + "RUN a \\\n" + " b \\\n" * 90_000 + " c\n", "KiB"),
    "fifty thousand comments": (FROM + "# x\n" * 50_000, ""),
    "four million empty lines": (FROM + "\n" * 4_000_000, "lines"),
    "a line of a mebibyte": (FROM + "RUN " + "a" * 2**20 + "\n", "65,535 characters"),
    "backslashes": (FROM + "RUN " + "\\ " * 30000 + "\n", ""),
    "backslashes at the ends": (FROM + "\\\n" * 90_000, ""),
    "an escape of its own": ("# escape=`\n" + FROM + "RUN " + "` " * 30000 + "\n", ""),
    "quotes": (run("'" * 60000), ""),
    "flags": (FROM + "RUN " + "--a " * 15000 + "x\n", ""),
    "mounts": (FROM + "RUN " + "--mount=type=cache,target=/x " * 2000 + "x\n", ""),
    "mount keys": (FROM + "RUN --mount=" + "a=b," * 15000 + " x\n", ""),
    "a digest of a thousand signs": (f"FROM debian{'@' * 60000}\n", ""),
    "dots in a path": (FROM + "WORKDIR " + "a/../" * 12000 + "\nCOPY x " + "../" * 20000 + "\n", ""),
    "WORKDIR ten times": (FROM + ("WORKDIR " + "a/" * 30000 + "\n") * 10, ""),
    "a Python path": (FROM + "ENV PYTHONPATH=" + ":".join(["/a"] * 10000) + "\nCOPY a /b\n" * 100, ""),
    "many users": (FROM + "USER " + "1" * 60000 + "\n", ""),
    "ONBUILD in ONBUILD": (FROM + "ONBUILD " * 8000 + "RUN a\n", ""),
    "other spaces": ("FROM\u2003debian:12\u2028RUN x\n", ""),
    "control characters": (FROM + "RUN echo \x1b[2J\x07\n", ""),
}


@pytest.fixture(autouse=True)
def without_hadolint(monkeypatch):
    monkeypatch.setattr(check, "hadolint", lambda file: "not installed")


def examine(folder, name, text, said):
    (folder / "pixi.toml").write_text(MANIFEST)
    (folder / name).write_text(text)
    done = attack.call("container-check", folder / name)
    if said:
        attack.refused(done, said)
    else:
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        assert not done.stderr or done.stderr.startswith("looked at:"), done.stderr


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles(tmp_path, name):
    examine(tmp_path, "Dockerfile", *DOCKERFILES[name])


HEAD = "Bootstrap: docker\nFrom: debian:12\n"
DEFINITIONS = {
    "an argument many times": (f"{HEAD}%arguments\n    A={'a' * 50000}\n%post\n    {'{{ A }} ' * 5000}\n", "KiB"),
    "spaces in an argument": (f"{HEAD}%arguments\n    A={' x' * 30000}\n", ""),
    "empty lines": (f"{HEAD}%arguments\n" + "\n" * 90_000 + "A=1\n", ""),
    "a long script": (f"{HEAD}%post\n" + "pixi install\n" * 100_000, "KiB"),
    "two thousand commands": (f"{HEAD}%post\n" + "a\n" * 3000 + "pixi install\n", "2,000 commands"),
    "doubling": (f"{HEAD}%post\n    A=aa\n" + "    A=$A$A\n" * 60 + "    pixi install\n", "characters"),
    "doubling in the environment": (f"{HEAD}%environment\n    export A=aa\n" + "    export A=$A$A\n" * 60, ""),
    "a thousand stages": ("".join(f"{HEAD}Stage: s{i}\n%files from s{i - 1}\n    /a /b\n" for i in range(400)), ""),
    "a hundred thousand stages": (HEAD * 100_000, "sections"),
    "a hundred thousand sections": (HEAD + "%post\n" * 100_000, "sections"),
    "a hundred thousand headers": (HEAD + "A: b\n" * 20_000, ""),
    "open braces": (f"{HEAD}%post\n    {'{{' * 30000}\n", ""),
    "nested $(": (f"{HEAD}%post\n    {'$(' * 30000}\n", ""),
    "a zero byte": (f"{HEAD}%post\n    \0001\0 a\n", "zero byte"),
    "an argument that names itself": (f"{HEAD}%arguments\n    A={{{{ A }}}}{{{{ A }}}}\n%post\n    {{{{ A }}}}\n", ""),
    "no header": ("%post\n" * 10, "Bootstrap"),
    "files without names": (f"{HEAD}%files\n    '\n    \"\n", ""),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definitions(tmp_path, name):
    examine(tmp_path, "x.def", *DEFINITIONS[name])
