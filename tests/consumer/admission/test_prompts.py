"""Prompt rules: a blocked word is found however it is written, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.admission.files import RuleFiles
from consumer.admission.folding import fold
from consumer.admission.prompts import PromptGuard
from consumer.metrics import Metrics
from schemas.catalog import Catalog, Style
from schemas.prompt_rules import PromptRule
from schemas.settings import Settings
from schemas.tenants import Directory, Tenant
from tests.consumer.admission.world import World, rules, tenant

ACME = tenant()
ENGLISH = ("gore", "torture", "severed head", "kalashnikov", "bomb")
CHINESE = ("斩首", "裸体", "恐怖袭击")


def rule(*block: str, name: str = "violence", allow: tuple[str, ...] = (), negative: bool = True) -> PromptRule:
    return PromptRule(name=name, block=block, allow=allow, negative_prompt=negative)


def guard(*found: PromptRule) -> PromptGuard:
    return PromptGuard(Directory(1, {"acme": ACME}, {}, {}, found))


def blocked(text: str, *found: PromptRule) -> bool:
    return guard(*(found or (rule(*ENGLISH, *CHINESE),))).blocking(ACME, text) is not None


LOOK_ALIKES = {
    "o": "оοσ0º",
    "e": "еε3é",
    "a": "аα4@à",
    "r": "гʀ",
    "k": "кκ",
    "t": "тτ7",
    "s": "ѕ5$š",
    "i": "іι1í",
    "g": "ɡ9",
}
SEPARATORS = st.sampled_from([" ", "  ", "-", ".", "*", "_", "\u200b", "\u00ad", "\u2060", "\u3000", "~", " . "])
WORDS = st.sampled_from(ENGLISH)


def look_alike(word: str, draw: st.DataObject) -> str:
    return "".join(draw.draw(st.sampled_from(letter + LOOK_ALIKES.get(letter, ""))) for letter in word)


def other_case(word: str, draw: st.DataObject) -> str:
    return "".join(draw.draw(st.sampled_from([letter, letter.upper()])) for letter in word)


def other_width(word: str, draw: st.DataObject) -> str:
    first = {"full": 0xFF41, "bold": 0x1D41A, "circled": 0x24D0, "flag": 0x1F1E6}[
        draw.draw(st.sampled_from(["full", "bold", "circled", "flag"]))
    ]
    return "".join(chr(first + ord(letter) - ord("a")) if letter.isalpha() else letter for letter in word)


def spelled_out(word: str, draw: st.DataObject) -> str:
    return draw.draw(SEPARATORS).join(word.replace(" ", ""))


def invisible(word: str, draw: st.DataObject) -> str:
    return "".join(letter + draw.draw(st.sampled_from(["", "\u200b", "\u200d", "\ufe0f", "\u0336"])) for letter in word)


def decomposed(word: str, draw: st.DataObject) -> str:
    return unicodedata.normalize("NFD", word.replace("o", "ö").replace("e", "ê"))


VARIANTS = [look_alike, other_case, other_width, spelled_out, invisible, decomposed]


@pytest.mark.parametrize("variant", VARIANTS)
@given(word=WORDS, data=st.data(), around=st.sampled_from(["{}", "a {} scene", "red,{}!", "画{}图", "({})"]))
def test_a_word_is_found_however_it_is_written(
    variant: Callable[[str, st.DataObject], str], word: str, data: st.DataObject, around: str
) -> None:
    assert blocked(around.format(variant(word, data)))


@given(
    word=WORDS,
    data=st.data(),
    first=st.sampled_from([other_case, look_alike]),
    then=st.sampled_from([spelled_out, invisible]),
)
def test_two_disguises_hide_no_more_than_one(
    word: str, data: st.DataObject, first: Callable[..., str], then: Callable[..., str]
) -> None:
    assert blocked(then(first(word, data), data))


def test_what_shows_nothing_ends_no_number() -> None:
    for hidden in ("\u200b", "\ufe0f", "\u0336"):
        assert blocked(f"53{hidden}vered head")


@given(
    data=st.data(),
    word=st.sampled_from(["kill", "illicit", "slit", "lolita"]),
    around=st.sampled_from(["{} him", "a {}, dark", "({})."]),
)
def test_strokes_are_i_and_l_in_one_word(word: str, data: st.DataObject, around: str) -> None:
    # At a word's end, a sign is punctuation.
    strokes = {place: "1" if place == len(word) - 1 else "1!|" for place, letter in enumerate(word) if letter in "il"}
    written = "".join(data.draw(st.sampled_from(letter + strokes.get(place, ""))) for place, letter in enumerate(word))
    assert blocked(around.format(written), rule(word))
    swapped = word.translate(str.maketrans("il", "li"))
    assert not blocked(around.format(swapped), rule(word)), "an i is no l"


TRADITIONAL = str.maketrans("斩体袭击", "斬體襲擊")


@given(
    word=st.sampled_from(CHINESE),
    traditional=st.booleans(),
    gap=st.sampled_from(["", " ", "\u3000", "\u200b", "·", "-", "*"]),
    around=st.sampled_from(["{}", "一个{}的人", "画面：{}，写实", "A {} B", "x{}y"]),
)
def test_chinese_is_found_anywhere(word: str, traditional: bool, gap: str, around: str) -> None:
    written = word.translate(TRADITIONAL) if traditional else word
    assert blocked(around.format(gap.join(written)))


@given(text=st.text(max_size=60))
def test_any_text_is_read_and_folding_it_again_changes_nothing(text: str) -> None:
    blocked(text)
    spaced, letters = fold(text)
    assert fold(letters)[1] == letters
    assert set(letters).isdisjoint(" ,-")
    assert [letter for letter in spaced if letter not in " ,-"] == list(letters)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("cunt", "a map of Scunthorpe"),
        ("ass", "a glass of grass, a class assessed"),
        ("sex", "Essex, Sussex and Middlesex"),
        ("gore", "go reading, an old gorey book"),
        ("gore", "man go, re-entry"),
        ("hell", "he'll sit, and so will she’ll"),
        ("mango", "a man, go home"),
        ("ass", "with soft hyphens, ass\u00adess\u00adment"),
        ("kill", "skill, a kilt, killer"),
        ("ass", "a boeing 455, $55 and 4550 px"),
        ("ass", "along the A551"),
        ("kill", "skl11, ki1t and k1iln"),
        ("big", "a 616 and 819, 1969"),
        ("1488", "in 14880 steps, and 21488"),
        ("裸体", "全裸，体育馆"),
        ("斩首", "斩，头，首饰盒"),
        ("cocoa", "кокон"),
    ],
)
def test_what_only_looks_like_it_passes(word: str, text: str) -> None:
    assert blocked(word, rule(word))
    assert not blocked(text, rule(word))


def test_ordinary_prompts_pass() -> None:
    corpus = (Path(__file__).parent / "benign_prompts.txt").read_text(encoding="utf-8").splitlines()
    found = guard(rule(*ENGLISH, *CHINESE, "ass", "cunt", "sex", "tit", "cum", "rape", "nude*", "anal", "hell", "裸"))
    assert len(corpus) >= 40
    assert [text for text in corpus if found.blocking(ACME, text)] == []


def test_a_phrase_is_found_over_any_gap_and_without_one() -> None:
    for text in ("severed head", "severed   head", "severed-head", "Severed, head", "severedhead", "a severed\nhead"):
        assert blocked(text), text
    for text in ("severed", "head", "severed red head", "severed heads"):
        assert not blocked(text), text


def test_a_star_blocks_what_begins_with_it() -> None:
    assert [blocked(text, rule("murder*")) for text in ("murder", "Murderers", "bloodmurder")] == [True, True, False]


def test_an_exception_is_allowed_where_it_stands_and_nowhere_else() -> None:
    found = rule("gore", allow=("Gore Vidal", "al gore"))
    assert not blocked("a portrait of Gore Vidal and AL GORE", found)
    assert blocked("Gore Vidal in gore", found)


def test_numbers_can_be_blocked() -> None:
    assert [blocked(text, rule("8964", "64事件")) for text in ("8964", "８９６４", "89640", "六四 64事件")] == [
        *(True, True, False, True)
    ]


class TestDecision:
    def test_a_blocked_prompt_is_rejected_by_the_name_of_its_rule_alone(self) -> None:
        world = World(rules(tenant(requests_per_minute=60, burst=1), prompt_rules=(rule("gore"),)))
        prompt, negative = world.request(1, prompt="G0RE!"), world.request(1, negative_prompt="gore")
        for asked, param in ((prompt, "prompt"), (negative, "negative_prompt")):
            (said,) = world.take(asked)
            error = said["error"]
            assert (said["kind"], error["code"], error["param"]) == ("generation.rejected", "prompt_blocked", param)
            assert error["type"] == "invalid_request_error"
            assert "'violence'" in error["message"] and "gore" not in error["message"].lower()
        # Nothing was bound, held or counted: the same id, with other words, is accepted at once.
        assert world.state.requests == {} and world.state.accounts == {}
        assert world.take(world.request(1))[0]["kind"] == "generation.accepted"

    def test_a_rule_may_leave_negative_prompts_alone(self) -> None:
        world = World(rules(tenant(), prompt_rules=(rule("gore", negative=False),)))
        assert world.take(world.request(1, negative_prompt="gore"))[0]["kind"] == "generation.accepted"
        assert world.take(world.request(2, prompt="gore"))[0]["kind"] == "generation.rejected"

    def test_a_tenants_own_rules_are_its_own(self) -> None:
        strict = tenant().model_copy(update={"prompt_rules": (rule("wine", name="alcohol"),)})
        world = World(rules(strict, tenant("globex")))
        assert world.take(world.request(1, prompt="red wine"))[0]["error"]["code"] == "prompt_blocked"
        other = World(rules(tenant("globex"), strict))
        assert other.take(other.request(1, who="globex", prompt="red wine"))[0]["kind"] == "generation.accepted"

    def test_a_tenant_can_be_exempt_from_a_rule_for_all(self) -> None:
        museum = tenant().model_copy(update={"exempt_from": frozenset({"nudity"})})
        world = World(rules(museum, prompt_rules=(rule("nude", name="nudity"), rule("gore"))))
        assert world.take(world.request(1, prompt="a marble nude"))[0]["kind"] == "generation.accepted"
        assert world.take(world.request(2, prompt="gore"))[0]["kind"] == "generation.rejected"

    def test_a_dry_run_says_it_too(self) -> None:
        world = World(rules(tenant(), prompt_rules=(rule("gore"),)))
        (said,) = world.take(world.request(1, prompt="gore", dry_run=True))
        assert (said["kind"], said["acceptable"], said["error"]["code"]) == (
            *("generation.priced", False, "prompt_blocked"),
        )

    def test_what_a_style_adds_is_the_operators(self) -> None:
        base = rules(tenant(), prompt_rules=(rule("gore"),))
        card = base.catalog.models["m"].model_copy(update={"styles": {"dark": Style(prompt_suffix="gore")}})
        world = World(replace(base, catalog=Catalog(models={"m": card})))
        assert world.take(world.request(1, style="dark"))[0]["kind"] == "generation.accepted"


async def test_a_changed_rule_is_in_force_without_a_restart(tmp_path: Path) -> None:
    path, words = tmp_path / "tenants.yaml", tmp_path / "words.txt"
    words.write_text("# a comment\n\ngore\n斩首\n", encoding="utf-8")

    def write(version: int, **more: object) -> None:
        path.write_text(json.dumps({"version": version, "tenants": [{"id": "acme"}], **more}))

    write(1)
    models = Path(__file__).parents[3] / "models.yaml"
    files = RuleFiles(Settings(tenants=path, models=models), Metrics())
    acme = Tenant(id="acme")
    assert files.rules(0).prompts.blocking(acme, "gore") is None
    watching = asyncio.create_task(files.watch())
    try:
        write(2, prompt_rules=[{"name": "violence", "file": "words.txt"}])
        async with asyncio.timeout(10):
            while files.rules(0).directory.version == 1:  # noqa: ASYNC110 - the file has no event to wait for
                await asyncio.sleep(0.05)
        found = [files.rules(0).prompts.blocking(acme, text) for text in ("gore", "斬首", "a comment")]
        assert found == ["violence", "violence", None]
    finally:
        watching.cancel()
