"""What the service was told in secret is not in /proc once it serves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import os, sys
from app.environment import forget_secrets
forget_secrets()
print(sorted(name for name in os.environ if name.startswith("CXR_")), flush=True)
sys.stdin.read()
"""
SECRETS = {
    "CXR_QUARANTINE_KEY": "c2VjcmV0IG9mIHRoZSBxdWFyYW50aW5l",
    "CXR_RESULTS_PASSWORD": "pass=word with spaces",
    "CXR_RECORD_URL": "postgresql://cxr:hush@database/record",
    "CXR_RESULTS_USER": "cxr",
}


def test_secrets_leave_the_environment_and_other_settings_stay() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=SECRETS, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == b"['CXR_RESULTS_USER']\n"
        shown = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"CXR_RESULTS_USER=cxr" in shown
        for name in ("CXR_QUARANTINE_KEY", "CXR_RESULTS_PASSWORD", "CXR_RECORD_URL"):
            assert SECRETS[name].encode() not in shown
            assert SECRETS[name].encode()[4:] not in shown
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
