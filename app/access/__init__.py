"""The callers of the service and their rights: a file of callers, each with a name, scopes and the hash of a key.

    Authorization: Bearer KEY -> Callers.find -> Caller -> the scopes that a route needs (app/http/security.py)

``cxr-gate new-key`` and ``revoke-key`` write the file, and a running service reads it again when it changes (docs/access.md).
"""

from .callers import Callers
from .file import Caller, KeysFileError, Scope, add_key, read_callers, revoke_keys
from .quota import Quota, Quotas

__all__ = ["Caller", "Callers", "KeysFileError", "Quota", "Quotas", "Scope", "add_key", "read_callers", "revoke_keys"]
