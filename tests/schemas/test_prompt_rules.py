"""Prompt rules in ``tenants.yaml``: what an operator can write, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.tenants import load_tenants
from tests.schemas.files import problem_of_tenants, tenants, write


def test_words_stand_in_the_file_or_in_one_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "zh.txt").write_text("# what it is\n斩首\n\n 裸体 \n", encoding="utf-8")
    directory = tenants(
        tmp_path,
        """
        version: 1
        prompt_rules:
          - {name: violence, block: [gore], file: lists/zh.txt, allow: [Gore Vidal]}
          - {name: nudity, block: [nude], negative_prompt: false}
        tenants:
          - id: acme
            exempt_from: [nudity]
            prompt_rules: [{name: alcohol, block: [wine]}]
        """,
    )
    violence, nudity = directory.prompt_rules
    assert (violence.block, violence.allow, violence.file) == (("gore", "斩首", "裸体"), ("Gore Vidal",), None)
    assert (violence.negative_prompt, nudity.negative_prompt) == (True, False)
    assert [rule.name for rule in directory.tenants["acme"].prompt_rules] == ["alcohol"]
    assert directory.tenants["acme"].exempt_from == {"nudity"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt_rules: [{name: x}]", "prompt_rules.0: blocks nothing: it needs block or file"),
        ("prompt_rules: [{name: x, block: ['--']}]", "prompt_rules.0.block.0: holds neither a letter nor a digit"),
        (
            "prompt_rules: [{name: x, block: [a]}, {name: x, block: [b]}]",
            "prompt_rules.1.name: prompt rule 'x' stands twice",
        ),
        (
            "prompt_rules: [{name: x, file: absent.txt}]",
            "file: absent.txt can't be used: No such file or directory",
        ),
        ("prompt_rules: [{name: x, file: tenants.yaml, words: 1}]", "prompt_rules.0.words: Extra inputs"),
    ],
)
def test_a_mistake_is_told_by_its_place(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problem_of_tenants(tmp_path, f"version: 1\n{text}\ntenants: [{{id: acme}}]\n")


def test_a_tenant_is_exempt_from_what_there_is(tmp_path: Path) -> None:
    said = problem_of_tenants(tmp_path, "version: 1\ntenants:\n  - id: acme\n    exempt_from: [gore]\n")
    assert said == "tenants.yaml:4: tenants.0.exempt_from: 'gore' is no rule for all tenants"


def test_its_own_rule_has_a_name_of_its_own(tmp_path: Path) -> None:
    own = "    prompt_rules: [{name: x, block: [b]}]\n"
    text = f"version: 1\nprompt_rules: [{{name: x, block: [a]}}]\ntenants:\n  - id: acme\n{own}"
    assert "tenants.yaml:5: tenants.0.prompt_rules.0.name: prompt rule 'x' stands twice" in problem_of_tenants(
        tmp_path, text
    )


def test_who_only_signs_does_not_read_the_lists(tmp_path: Path) -> None:
    text = "version: 1\nprompt_rules: [{name: x, file: absent.txt}]\ntenants: [{id: acme}]\n"
    assert load_tenants(write(tmp_path, text), only_issuer="easel-api").version == 1
