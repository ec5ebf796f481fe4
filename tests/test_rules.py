"""The loop over the rules."""

from workshop.support.rules import ADVICE, ERROR, Finding, Problem, Rule, findings_of


def negative(number):
    if number < 0:
        yield Problem(looked_at=str(number), expected="0 or more", found="less", next_step="abs")


def even(number):
    yield from (Problem(looked_at=str(number), expected="odd", found=found, next_step="+ 1") for found in ("2", "4"))


def fails(number):
    raise AssertionError("this rule's turn has not come")


def test_findings_come_by_subject_and_then_by_rule():
    found = findings_of([-2, 1], [Rule("negative", ERROR, negative), Rule("even", ADVICE, even)])
    assert [(f.looked_at, f.name, f.level, f.found) for f in found] == [
        ("-2", "negative", "error", "less"),
        ("-2", "even", "advice", "2"),
        ("-2", "even", "advice", "4"),
        ("1", "even", "advice", "2"),
        ("1", "even", "advice", "4"),
    ]


def test_a_rule_is_applied_only_when_its_turn_comes():
    first = next(findings_of([-1], [Rule("negative", ERROR, negative), Rule("fails", ERROR, fails)]))
    assert first == Finding(
        name="negative", level="error", looked_at="-1", expected="0 or more", found="less", next_step="abs"
    )
