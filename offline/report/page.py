"""The page around the sections: the first screen, the contents, and the style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .markup import Html, Section, html
from .reading import Tree, at, text
from .summary import Headline, headlines, sentences, verdict

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --text: #1a2026; --faint: #59636e; --rule: #d5dae0; --panel: #f3f5f7;
  --link: #005a9c; --good: #006b4f; --bad: #a83505; --tint: #2f86b8; }
@media (prefers-color-scheme: dark) { :root { --paper: #171b20; --text: #e8ecf0; --faint: #a3adb8; --rule: #3a424c;
  --panel: #20262d; --link: #7dbcff; --good: #4fd6a8; --bad: #ff9a6b; --tint: #2f86b8; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0 auto; max-width: 1180px; padding: 1.1rem 1.5rem 4rem; background: var(--paper); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: .1rem 0 .3rem; }
h2 { font-size: 1.3rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; max-width: 78ch; }
a { color: var(--link); }
a:focus-visible, .scroll:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.about, .notice { color: var(--faint); font-size: .9rem; margin: 0; max-width: none; }
.notice strong { color: var(--bad); }
.verdict { font-size: 1.15rem; font-weight: 600; max-width: none; margin: 0 0 .3rem; }
.cards { display: grid; grid-template-columns: repeat(5, 1fr); gap: .7rem; margin: .8rem 0; padding: 0; list-style: none; }
.cards li { background: var(--panel); border-top: 4px solid var(--faint); border-radius: 4px; padding: .6rem .75rem;
  display: flex; flex-direction: column; }
.cards li.good { border-color: var(--good); } .cards li.bad { border-color: var(--bad); }
.cards .title { font-weight: 600; font-size: .95rem; line-height: 1.25; min-height: 2.5em; }
.cards .value { font-size: 2.1rem; font-weight: 700; line-height: 1.25; font-variant-numeric: tabular-nums; }
.good .value { color: var(--good); } .bad .value { color: var(--bad); }
.cards .count { font-size: .85rem; } .cards .note { color: var(--faint); font-size: .85rem; line-height: 1.35;
  margin-top: .3rem; }
.plain { margin: .5rem 0; padding-left: 1.2rem; } .plain li { margin: .15rem 0; max-width: 110ch; }
nav { margin: 1rem 0 0; padding: .6rem 0; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule);
  font-size: .9rem; } nav a { margin-right: 1rem; white-space: nowrap; }
section { margin-top: 2.2rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .35rem; }
th, td { padding: .32rem .6rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--faint); } tbody th { font-weight: 600; }
.number { text-align: right; } small { display: block; color: var(--faint); font-size: .8rem; white-space: nowrap; }
.shade { display: inline-block; min-width: 3.6rem; padding: 0 .3rem; border-radius: 3px;
  background: color-mix(in srgb, var(--tint) calc(var(--share) * .35), transparent); }
figure { margin: 1rem 0; } img { max-width: 100%; width: 900px; height: auto; display: block; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 85ch; margin-top: .3rem; }
.unmeasured { border-left: 4px solid var(--faint); padding-left: .8rem; color: var(--faint); }
summary { cursor: pointer; color: var(--link); } code { font-size: .9em; overflow-wrap: anywhere; }
@media (max-width: 900px) { .cards { grid-template-columns: repeat(2, 1fr); } .cards .title { min-height: 0; } }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""


def page(evaluation: Tree, sections: Sequence[Section]) -> str:
    """The whole document; nothing in it is loaded from elsewhere."""
    links = " ".join(f'<a href="#{part.anchor}">{html(part.title)}</a>' for part in sections)
    body = "\n".join(
        f'<section id="{part.anchor}"><h2>{html(part.title)}</h2>\n{part.body}\n</section>' for part in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">\n"
        f"<title>Would this gate stop an attack?</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'{_first_screen(evaluation)}\n<nav aria-label="Contents">{links}</nav>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _first_screen(evaluation: Tree) -> Html:
    cards = "".join(_card(card) for card in headlines(evaluation))
    plain = "".join(f"<li>{html(sentence)}</li>" for sentence in sentences(evaluation)[:-1])
    films = text(at(evaluation, "films", "test"))
    patients = text(at(evaluation, "films", "test_patients"))
    return Html(
        "<header>\n<h1>Would this gate stop an attack?</h1>\n"
        f'<p class="verdict">{escape(verdict(evaluation))}</p>\n'
        '<p class="about">A network reads chest X-rays. An attacker can change a film so slightly that no one sees it, and the '
        "network then misses a finding or sees one that is not there. The gate refuses films that look unusual to the network, "
        f"before anyone sees its answer. Measured on {films} clean test films of {patients} patients and on attacked copies of "
        "them; ranges are 95% intervals.</p>\n"
        f'<ul class="cards">{cards}</ul>\n'
        '<p class="notice"><strong>Not a medical device.</strong> No diagnosis, triage or treatment may rest on it.</p>\n'
        f'<ul class="plain">{plain}</ul>\n</header>'
    )


def _card(card: Headline) -> str:
    kind = "" if card.bad is None else ' class="bad"' if card.bad else ' class="good"'
    measured = (
        f'<span class="count">{escape(card.interval)}<br>{escape(card.films)} films</span>'
        if card.bad is not None
        else ""
    )
    return (
        f'<li{kind}><span class="title">{escape(card.title)}</span><span class="value">{escape(card.value)}</span>'
        f'{measured}<span class="note">{escape(card.note)}</span></li>'
    )
