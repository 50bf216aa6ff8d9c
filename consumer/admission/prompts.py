"""Which prompts are refused: the rules of tenants.yaml, looked for in every reading of a text.

One automaton (Aho-Corasick) finds in a single pass which entries may be there, whatever their number; only those are
looked at with care, each with a regular expression of its own: at the borders of words, and not across two of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

from ahocorasick_rs import AhoCorasick

from consumer.admission.folding import GAPS, STROKE, UNSPACED, Folded, fold, forms, with_strokes
from schemas.prompt_rules import PromptRule
from schemas.tenants import Directory, Tenant

__all__ = ["PromptGuard", "Wordlist"]

_UNSPACED = re.compile(f"[{UNSPACED}]")
_SPELLED_OUT = f"(?<![^{GAPS}].)[{GAPS}]+|[{GAPS}]+(?=.(?![^{GAPS}]))"
"""Any gap, where the letter before or after it stands by itself: ``g o r e``."""
_BEFORE_LETTER, _AFTER_LETTER = f"(?<![^{GAPS}0-9{UNSPACED}]{{}})", f"(?![^{GAPS}0-9{UNSPACED}])"


class PromptGuard:
    """The rules of one directory: those for all, and each tenant's own."""

    def __init__(self, directory: Directory) -> None:
        self._common = directory.prompt_rules
        self._own: dict[str, tuple[Wordlist, ...]] = {}

    def blocking(self, tenant: Tenant, text: str, *, negative: bool = False) -> str | None:
        """The name of the first rule that a text falls under, of those for all and then the tenant's own."""
        lists = self._own.get(tenant.id)
        if lists is None:
            common = tuple(rule for rule in self._common if rule.name not in tenant.exempt_from)
            made = (_wordlist(rules) for rules in (common, tenant.prompt_rules) if rules)
            lists = self._own[tenant.id] = tuple(made)
        if not lists:
            return None
        found: list[set[int]] = [set() for _ in lists]
        for folded in forms(text):
            for words, seen in zip(lists, found, strict=True):
                seen.update(words.find(folded))
        for words, seen in zip(lists, found, strict=True):
            for index in sorted(seen):
                if words.rules[index].negative_prompt or not negative:
                    return words.rules[index].name
        return None


class Wordlist:
    """Rules, compiled."""

    def __init__(self, rules: Sequence[PromptRule]) -> None:
        self.rules = rules
        entries: dict[str, list[_Entry]] = defaultdict(list)
        for index, rule in enumerate(rules):
            for entry in _entries(index, rule.block):
                for letters in {entry.letters, with_strokes(entry.letters)}:
                    entries[letters].append(entry)
        self._entries = list(entries.values())
        self._allowed = [_entries(index, rule.allow) for index, rule in enumerate(rules)]
        self._automaton = AhoCorasick(list(entries))

    def find(self, folded: Folded) -> set[int]:
        """The places, among the rules, of those that a text falls under in one reading."""
        spaced, letters = folded
        hits = {hit[0] for hit in self._automaton.find_matches_as_indexes(letters, overlapping=True)}
        return {entry.rule for hit in hits for entry in self._entries[hit] if self._stands(entry, spaced)}

    def _stands(self, entry: _Entry, spaced: str) -> bool:
        found = entry.spans(spaced)
        if not found:
            return False
        excused = [span for exception in self._allowed[entry.rule] for span in exception.spans(spaced)]
        return any(not any(start <= span[0] and span[1] <= end for start, end in excused) for span in found)


class _Entry:
    """One word or phrase."""

    def __init__(self, rule: int, text: str) -> None:
        self.rule = rule
        self._open_end = text.rstrip().endswith("*")
        self._spaced, self.letters = fold(text.rstrip("* "))

    def spans(self, spaced: str) -> list[tuple[int, int]]:
        """Where it stands in a folded text."""
        return [found.span() for found in self._pattern.finditer(spaced)]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = list(_parts(self._spaced))
        first, last = self.letters[0], self.letters[-1]
        # The look behind stands after the first letter: so the search can skip to it.
        parts.insert(1, _border(first, _BEFORE_LETTER.format(_sign(first)), f"(?<![0-9]{re.escape(first)})"))
        if not self._open_end:
            parts.append(_border(last, _AFTER_LETTER, "(?![0-9])"))
        return re.compile("".join(parts))


def _entries(rule: int, texts: Sequence[str]) -> list[_Entry]:
    entries = (_Entry(rule, text) for text in texts)
    # One of rare signs alone has nothing left to be looked for.
    return [entry for entry in entries if entry.letters]


def _parts(spaced: str) -> Iterator[str]:
    """The letters of an entry, each after the gaps that may stand before it."""
    before, own_gap = "", False
    for letter in spaced.strip(" ,-"):
        if letter in " ,-":
            own_gap = True
            continue
        if before:
            tight = f"[{GAPS}]*" if own_gap else "[ -]*" if _UNSPACED.match(before + letter) else "-*"
            yield tight if own_gap else f"(?:{_SPELLED_OUT}|{tight})"
        yield _sign(letter)
        before, own_gap = letter, False


def _sign(letter: str) -> str:
    return f"[{letter}{STROKE}]" if letter in "il" else re.escape(letter)


def _border(letter: str, of_letter: str, of_digit: str) -> str:
    if _UNSPACED.match(letter):
        return ""
    return of_digit if letter.isdigit() else of_letter


@lru_cache(maxsize=64)
def _wordlist(rules: tuple[PromptRule, ...]) -> Wordlist:
    # Once for all partitions of a process.
    return Wordlist(rules)
