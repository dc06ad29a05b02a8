"""Tables of documents that come from committed reports: each stands between ``<!-- name -->`` and ``<!-- /name -->``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence


def filled(document: str, tables: Mapping[str, str]) -> str:
    """The document with its tables anew, by name.

    Raises
    ------
    ValueError
        A table has no place, or several.
    """
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- /{name} -->"
        document, found = re.subn(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, document, flags=re.DOTALL)  # noqa: B023
        if found != 1:
            raise ValueError(f"the document has {found} places for the table {name}")
    return document


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, without a newline at its end."""
    heading, *lines = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join([heading, "|" + "---|" * len(head), *lines])
