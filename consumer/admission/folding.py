"""A prompt with everything taken away that hides a word: case, width, accents, look-alikes, separators.

Each text is folded into two forms, because some characters can be read in several ways: ``1`` as itself, and as an i or
an l. A word that is looked for is folded the same way, in the first of these forms.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

__all__ = ["GAPS", "STROKE", "UNSPACED", "Folded", "fold", "forms", "with_strokes"]

_SPACE, _CLAUSE, _TIGHT = " ", ",", "-"
"""What becomes of separators: white space; what ends a clause or stands in a list; all others, as in ``re-use``."""
GAPS = " ,\\-"
"""The three, for a regular expression's set."""
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fff\u3005-\u30ff\u3100-\u31bf\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts that are written without spaces, or glue their words together; for a regular expression's set."""

STROKE = "\ue000"
"""What may be an i or an l, in the form that reads figures as letters; no text has this sign of itself."""

Folded = tuple[str, str]
"""A text in one reading: with its gaps; and without them, in the second form also `with_strokes`."""

_CLAUSES = frozenset(",;:!?、。\n")
_ACCENTS = range(0x0300, 0x0370)
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that show nothing; what Unicode calls format characters is known by its category."""

# What looks like a Latin letter. Full-width, mathematical and circled letters are NFKC's, accents are taken off before.
_LATIN = {
    "a": "аαɑᴀꭺ",
    "b": "вьβʙɓƅᏏ",
    "c": "сϲᴄƈꮯ",
    "d": "ԁɗđðᴅꭰ",
    "e": "еєεəɛᴇҽꭼ",
    "f": "ғƒꜰ",
    "g": "ԍɡɢɠᶃ",
    "h": "һнħʜɦ",
    "i": "іιıɩɪӏ",
    "j": "јϳʝᴊ",
    "k": "кκƙᴋ",
    "l": "łʟɭɫⅼ",
    "m": "мᴍɱ",
    "n": "пηɴɲŋո",
    "o": "оοøσᴏօ०০๐೦",
    "p": "рρᴘƥþ",
    "q": "ԛգ",
    "r": "гʀɾɼꭱ",
    "s": "ѕꜱʂƽ",
    "t": "тτᴛŧƭ",
    "u": "υᴜʊսμ",
    "v": "νѵᴠⱱ",
    "w": "ԝωᴡѡш",
    "x": "хχ×",
    "y": "уγʏүყ",
    "z": "ᴢʐƶȥ",
}
_LOOKS_LIKE = {look: latin for latin, looks in reversed(_LATIN.items()) for look in looks}
_EMOJI_LETTERS = {first + index: chr(ord("a") + index) for first in (0x1F150, 0x1F170, 0x1F1E6) for index in range(26)}
_CAPITALS = {ord("Η"): "h", ord("Ν"): "n", ord("Υ"): "y", ord("Μ"): "m", ord("Ζ"): "z"}
"""Greek capitals that look like another letter than their small ones."""
_FIGURES = {ord(sign): letter for sign, letter in zip("03456789@$", "oeasbtbgas", strict=True)} | _CAPITALS
_STROKES = "1!|"
_AMBIGUOUS = re.compile(r"[013456789@$!|ΗΝΥΜΖ]")
_AT_END = r"(?![!|]{0,8}\w)"
_NO_LETTERS = re.compile(
    rf"[!|$\d](?:(?<=[!|]){_AT_END}|(?<=\$)(?=\d+(?!\w))|(?<=\d)(?<!\w\d)(?<!\w[!|]\d)\d+{_AT_END})"
)
"""What is punctuation, a price or a number, in the forms that read figures as letters; begins with a set, for speed."""
_CONTRACTION = re.compile(r"['’](?=(?:ll|re|ve|[dmst])\b)", re.IGNORECASE)


class _Table(dict[int, str | None]):
    """For ``str.translate``: made character by character, as they are met."""

    def __init__(self, otherwise: Mapping[int, str]) -> None:
        super().__init__(otherwise)

    def __missing__(self, code: int) -> str | None:
        self[code] = made = _EMOJI_LETTERS.get(code) or _folded(chr(code))
        return made


class _Seen(dict[int, int | None]):
    """For ``str.translate``: leaves out what shows nothing by itself."""

    def __missing__(self, code: int) -> int | None:
        self[code] = kept = None if _folded(chr(code)) is None else code
        return kept


_SEEN = _Seen()
_PLAIN = _Table({})
_SPELLED = _Table({**_FIGURES, **{ord(stroke): STROKE for stroke in _STROKES}})
_ALL_STROKES = str.maketrans("il", STROKE * 2)


def fold(text: str) -> Folded:
    """The first form: figures are themselves."""
    return _with_gaps(_normal(text), _PLAIN)


def forms(text: str) -> Iterator[Folded]:
    """Each form of a text, one at a time: most texts are done after the first."""
    normal = _normal(text)
    yield _with_gaps(normal, _PLAIN)
    if _AMBIGUOUS.search(normal):
        # Without what shows nothing: it would end a number that goes on as a word.
        spelled = _NO_LETTERS.sub(_CLAUSE, normal.translate(_SEEN))
        spaced, letters = _with_gaps(spelled, _SPELLED)
        yield spaced, with_strokes(letters)


def with_strokes(letters: str) -> str:
    """Letters with every i and l as a stroke: the same for all words that a stroke could make of each other."""
    return letters.translate(_ALL_STROKES)


def _normal(text: str) -> str:
    normal = unicodedata.normalize("NFKC", text)
    if "'" in normal or "’" in normal:
        # "he'll" is two words, not a spelling of one that is blocked.
        normal = _CONTRACTION.sub(_CLAUSE, normal)
    return normal


def _with_gaps(normal: str, table: _Table) -> Folded:
    spaced = normal.translate(table)
    return spaced, spaced.replace(_SPACE, "").replace(_CLAUSE, "").replace(_TIGHT, "")


def _folded(character: str) -> str | None:
    """One character, or the few that it folds into; None: it is left out."""
    code, category = ord(character), unicodedata.category(character)
    if character in _CLAUSES:
        return _CLAUSE
    if code in _ACCENTS or character in _INVISIBLE or category in ("Cf", "Me") or 0xFE00 <= code <= 0xFE0F:
        return None
    if look := _LOOKS_LIKE.get(character):
        return look
    if category[0] == "N":
        return str(unicodedata.digit(character, _TIGHT))
    if category[0] in "LM":
        return "".join(_letter(part) for part in character.casefold())
    return _SPACE if category[0] == "Z" or category == "Cc" else _TIGHT


def _letter(letter: str) -> str:
    parts = unicodedata.normalize("NFD", letter)
    base = parts[0]
    if any(ord(mark) not in _ACCENTS for mark in parts[1:]):
        # A mark that makes another letter, as those of Japanese or Hindi.
        base = letter
    return _LOOKS_LIKE.get(base) or _simplified().get(base, base)


@cache
def _simplified() -> dict[str, str]:
    """Traditional → simplified."""
    text = resources.files("consumer.admission").joinpath("simplified.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {traditional: line[0] for line in lines for traditional in line[1:]}
