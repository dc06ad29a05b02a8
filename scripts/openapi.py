"""``python -m scripts.openapi``: write docs/openapi.json, the OpenAPI document of the routes as they are declared."""

from __future__ import annotations

import json
from typing import Final

from app.http.application import routed
from scripts.inventory import ROOT

DOCUMENT: Final = ROOT / "docs" / "openapi.json"


def document() -> str:
    """The text of the document."""
    return json.dumps(routed().openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
