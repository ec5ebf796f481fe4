"""The helpers of this folder notice a command that hangs, takes too much, or prints a traceback."""

import time

import attack
import pytest


def test_a_command_that_hangs(monkeypatch):
    monkeypatch.setattr(attack, "HANGS_AFTER", 0.05)
    with pytest.raises(attack.Hangs):
        attack.call(10, function=time.sleep)


def test_a_command_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(attack, "SECONDS", 0.01)

    def burn():
        while time.process_time() < end:
            pass

    end = time.process_time() + 0.05
    with pytest.raises(AssertionError, match="processor time"):
        attack.call(function=burn)


def test_a_traceback_and_a_control_character():
    assert attack.answered(attack.call("--version"), "workshop")
    for text in ("Traceback (most recent call last):", "\x1b[2J", "\x9b"):
        with pytest.raises(AssertionError):
            attack.answered(attack.Done([], 1, text, ""))
    attack.refused(attack.call("chek", "2"), "'chek'", "workshop check 2")


@pytest.mark.slow
def test_processes_that_take_too_much(monkeypatch):
    def python(code):
        return attack.start(interpreter=("-c", code))

    with pytest.raises(AssertionError, match="MiB"):
        python("x = b'1' * (600 << 20)")
    assert python("x = b'1' * (16 << 30)").returncode == 1
    monkeypatch.setattr(attack, "HANGS_AFTER", 1)
    with pytest.raises(AssertionError, match="did not end"):
        python("import time; time.sleep(60)")
