"""The contract as a page for people: one file, made from the document, that needs no network and no script."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: #0b62c4; --mark: #b4530922 }
@media (prefers-color-scheme: dark) { :root { --link: #7ab7ff } }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1rem 1.25rem 4rem }
h1 { font-size: 1.8rem; margin-bottom: .25rem } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) }
h3 { margin-top: 2.2rem; overflow-wrap: anywhere } h4 { margin: 1.4rem 0 .4rem }
a { color: var(--link) } code, pre { font: .875em/1.5 ui-monospace, monospace }
code { overflow-wrap: anywhere; background: var(--soft); border-radius: 3px; padding: .1em .25em }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; padding: .75rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } td:first-child { min-width: 9rem } .soft { opacity: .75 }
.tag { background: var(--mark); border-radius: 3px; font-size: .8rem; padding: .1em .5em; white-space: nowrap }
nav ul { columns: 20rem; padding-left: 1.2rem } nav li { break-inside: avoid }
summary { cursor: pointer; padding: .3rem 0 }
@media (max-width: 40rem) {
  body { padding: .75rem } th { display: none }
  tr { border-bottom: 1px solid var(--line); display: block; padding: .4rem 0 }
  td { border: 0; display: block; padding: 0 }
}
"""


def page(document: dict[str, Any]) -> str:
    """The HTML of an AsyncAPI document that ``document`` has made."""
    info = document["info"]
    about = "".join(f"<p>{escape(part)}</p>" for part in info["description"].split("\n\n"))
    shapes: dict[str, Any] = document["components"]["schemas"]
    messages: dict[str, Any] = document["components"]["messages"]
    body = "\n".join(
        (
            f"<h1>{escape(info['title'])}</h1>",
            _origin(info["version"]),
            about,
            _contents(document),
            *(_channel(channel) for channel in document["channels"].values()),
            "<h2 id='messages'>Events</h2>",
            *(_message(message, shapes) for message in messages.values()),
            _signature(document, shapes),
            _codes(document["x-error-codes"]),
            "<h2 id='shapes'>Parts of events</h2>",
            *(_part(name, shapes[name]) for name in _parts(messages, shapes)),
        )
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(info['title'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _origin(version: str) -> str:
    return (
        f'<p class="soft">Version {escape(version)}. Made from <a href="asyncapi.yaml">asyncapi.yaml</a>;'
        ' <a href="events.md">events.md</a> tells it in order.</p>'
    )


def _contents(document: dict[str, Any]) -> str:
    items = []
    for channel in document["channels"].values():
        inner = "".join(f"<li>{_link(name)}</li>" for name in channel["messages"])
        items.append(
            f"<details{' open' if channel['x-key'] and '{' not in channel['address'] else ''}><summary>"
            f'<a href="#{_anchor(channel["address"])}"><code>{escape(channel["address"])}</code></a>'
            f" {escape(channel['summary'])}</summary><ul>{inner}</ul></details>"
        )
    more = (("signature", "The signature"), ("codes", "Error codes"), ("shapes", "Parts of events"))
    links = " · ".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in more)
    return f"<nav>{''.join(items)}<p>{links}</p></nav>"


def _channel(channel: dict[str, Any]) -> str:
    topic = channel["bindings"]["kafka"]
    settings = topic["topicConfiguration"]
    facts = [
        ("key", channel["x-key"]),
        ("partitions", str(topic["partitions"]) if topic["partitions"] == 1 else f"{topic['partitions']} by default"),
        ("kept", _duration(settings["retention.ms"])),
    ]
    return "\n".join(
        (
            f'<h2 id="{_anchor(channel["address"])}"><code>{escape(channel["address"])}</code></h2>',
            f"<p>{escape(channel['summary'])}</p>",
            _table((), [(name, escape(text)) for name, text in facts]),
            "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in channel["x-guarantees"]) + "</ul>",
        )
    )


def _message(message: dict[str, Any], shapes: dict[str, Any]) -> str:
    shape = shapes[message["payload"]["$ref"].rsplit("/", 1)[1]]
    end = ' <span class="tag">ends a request</span>' if message.get("x-terminal") else ""
    example = message["examples"][0]
    return "\n".join(
        (
            f'<h3 id="{_anchor(message["name"])}">{escape(message["name"])}{end}</h3>',
            f"<p>{_prose(shape.get('description', ''))}</p>",
            "<h4>Value</h4>",
            _fields(shape, _must(shape)),
            "<details><summary>Headers</summary>",
            _fields(message["headers"], _must(shape)),
            "</details><details><summary>Example</summary><pre>",
            "\n".join(f"{escape(name)}: {escape(value)}" for name, value in example["headers"].items()),
            "\n\n" + escape(json.dumps(example["payload"], indent=2, ensure_ascii=False)),
            "</pre></details>",
        )
    )


def _part(name: str, shape: dict[str, Any]) -> str:
    told = _fields(shape, _must(shape)) if "properties" in shape else f"<p>{_kind(shape)}</p>"
    return f'<h3 id="{_anchor(name)}">{escape(name)}</h3>\n<p>{_prose(shape.get("description", ""))}</p>\n{told}'


def _parts(messages: dict[str, Any], shapes: dict[str, Any]) -> list[str]:
    whole = {message["payload"]["$ref"].rsplit("/", 1)[1] for message in messages.values()}
    return [name for name in shapes if name not in whole and name != "SignatureClaims"]


def _signature(document: dict[str, Any], shapes: dict[str, Any]) -> str:
    signature = next(one["x-signature"] for one in document["operations"].values() if "x-signature" in one)
    facts = [
        (name, escape(", ".join(value) if isinstance(value, list) else value))
        for name, value in signature.items()
        if not isinstance(value, dict)
    ]
    return (
        f"<h2 id='signature'>The signature</h2>\n{_table((), facts)}\n<h4>Claims</h4>\n"
        f"{_fields(shapes['SignatureClaims'], 'required')}"
    )


def _codes(codes: dict[str, dict[str, str]]) -> str:
    titles = {"results": "In answers and ends", "deadLetters": "In dead letters"}
    tables = (
        f"<h3>{titles[where]}</h3>"
        + _table(("code", "what to do"), [(f"<code>{code}</code>", _prose(text)) for code, text in told.items()])
        for where, told in codes.items()
    )
    return "<h2 id='codes'>Error codes</h2>\n" + "\n".join(tables)


def _must(shape: dict[str, Any]) -> str:
    """The word for a field that must be there: a request, which takes no unknown ones, has to have it; events do."""
    return "required" if shape.get("additionalProperties") is False else "always there"


def _fields(schema: dict[str, Any], must_be_there: str) -> str:
    required = schema.get("required", [])
    rows = []
    for name, field in schema["properties"].items():
        must = f' <span class="tag">{must_be_there}</span>' if name in required else ""
        default = f" Default <code>{escape(json.dumps(field['default']))}</code>." if _has_default(field) else ""
        rows.append(
            (f"<code>{escape(name)}</code>{must}", _kind(field), _prose(field.get("description", "")) + default)
        )
    return _table(("field", "type", "meaning"), rows)


def _has_default(field: dict[str, Any]) -> bool:
    return field.get("default") is not None


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words of HTML."""
    if "$ref" in schema:
        return _link(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema["enum"])
    kind = escape(str(schema.get("type", "anything")))
    if kind == "array" and isinstance(schema.get("items"), dict):
        kind = f"array of {_kind(schema['items'])}"
    bounds = ", ".join(
        f"{escape(word)} <code>{escape(str(schema[name]))}</code>" for name, word in _BOUNDS.items() if name in schema
    )
    return f"{kind} <span class='soft'>{bounds}</span>" if bounds else kind


_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "minLength": "at least",
    "maxLength": "at most",
    "maxItems": "at most",
    "maxProperties": "at most",
    "format": "as",
    "pattern": "like",
}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """``rows`` are HTML already."""
    top = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if head else ""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{top}{lines}</table></div>'


def _prose(text: str) -> str:
    """Plain text, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _link(name: str) -> str:
    return f'<a href="#{_anchor(name)}"><code>{escape(name)}</code></a>'


def _anchor(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name)


def _duration(milliseconds: int) -> str:
    minutes = milliseconds // 60_000
    return f"{minutes // 1440} days" if minutes >= 1440 else f"{minutes} minutes"
