"""Settings -> Quarantine."""

from __future__ import annotations

from pathlib import Path

from app.metrics import Metrics
from app.records import Record, RecordUnavailable, Writer, is_in_memory
from app.settings import Settings, SettingsError

from .belonging import NotTogether
from .keys import QuarantineKeyError, QuarantineKeys
from .quarantine import Quarantine
from .vault import FolderInUse, Vault

_MIB = 1024 * 1024


def keys_of(settings: Settings) -> QuarantineKeys:
    """The keys of the quarantine.

    Raises
    ------
    SettingsError
        There are none, or they cannot be used, or both settings name some.
    """
    if bool(settings.quarantine_key_file) == bool(settings.quarantine_key):
        raise SettingsError(
            "CXR_QUARANTINE_FOLDER needs a key to encrypt films with: set one of CXR_QUARANTINE_KEY_FILE and CXR_QUARANTINE_KEY "
            "(openssl rand -base64 32)"
        )
    try:
        if settings.quarantine_key:
            return QuarantineKeys(settings.quarantine_key)
        return QuarantineKeys.from_file(Path(settings.quarantine_key_file))
    except QuarantineKeyError as error:
        named = "CXR_QUARANTINE_KEY" if settings.quarantine_key else "CXR_QUARANTINE_KEY_FILE"
        raise SettingsError(f"{named}: {error}") from error


def open_quarantine(settings: Settings, record: Record, writer: Writer, metrics: Metrics) -> Quarantine | None:
    """The quarantine, if the settings ask for one; its folder is taken and agrees with the record.

    Raises
    ------
    SettingsError
        The settings cannot be met.
    """
    if not settings.quarantine_folder:
        return None
    if is_in_memory(settings.record_url):
        raise SettingsError(
            "CXR_QUARANTINE_FOLDER needs a record that outlives the process, since it says what was decided on "
            "each film: set CXR_RECORD_URL to a file or a database"
        )
    if settings.record_days and settings.record_days <= settings.quarantine_days:
        raise SettingsError(
            f"CXR_RECORD_DAYS={settings.record_days} must be over "
            f"CXR_QUARANTINE_DAYS={settings.quarantine_days:g}: the record says what was decided on each film"
        )
    if settings.quarantine_mb * _MIB < 2 * settings.max_body_bytes:
        raise SettingsError(
            f"CXR_QUARANTINE_MB={settings.quarantine_mb} is too small: make it at least twice CXR_MAX_BODY_BYTES, so that any "
            "film has room beside another"
        )
    keys = keys_of(settings)
    folder = Path(settings.quarantine_folder)
    try:
        quarantine = Quarantine(
            Vault(folder, keys),
            record,
            writer,
            metrics,
            most_bytes=settings.quarantine_mb * _MIB,
            days=settings.quarantine_days,
            optional=settings.record_optional,
        )
        quarantine.open(settings.max_waiting)
    except (FolderInUse, RecordUnavailable) as error:
        raise SettingsError(f"CXR_QUARANTINE_FOLDER: {error}") from error
    except OSError as error:
        raise SettingsError(
            f"CXR_QUARANTINE_FOLDER={str(folder)!r} cannot be written to ({error.strerror}); name a folder that outlives "
            "the process"
        ) from error
    except NotTogether as error:
        raise SettingsError(
            f"CXR_QUARANTINE_FOLDER={str(folder)!r}, its key, and CXR_RECORD_URL do not belong together: {error}"
        ) from error
    return quarantine
