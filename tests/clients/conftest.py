"""The clients' own packages are not installed here; they are imported from where they stand."""

from __future__ import annotations

import sys

from tests.http.conftest import accepting_bundle, rejecting, rejecting_bundle, service, start
from tests.support.processes import ROOT

__all__ = ["accepting_bundle", "rejecting", "rejecting_bundle", "service", "start"]

sys.path.insert(0, str(ROOT / "clients" / "python"))
