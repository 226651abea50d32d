"""Where state can live when the usual place cannot be written."""

import tempfile
from pathlib import Path

from connet_trio.errors import StoreError
from connet_trio.store.privacy import DIRECTORY_MODE, make_private_directory


def fallback_directory(preferred: Path, prefix: str) -> tuple[Path, str | None]:
    """`preferred`, created if missing, or else a fresh temporary directory, with a warning for the operator.

    Args:
      prefix: start of the temporary directory's name, such as `connet-relay-`.

    Raises:
      StoreError: not even a temporary directory can be made.
    """
    try:
        make_private_directory(preferred)
        with tempfile.TemporaryFile(dir=preferred):
            pass
    except OSError as exc:
        reason = exc.strerror or str(exc)
    else:
        return preferred, None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=prefix))
        temporary.chmod(DIRECTORY_MODE)  # mkdtemp obeys the umask, which may have locked us out
    except OSError as exc:
        raise StoreError(
            f"cannot keep state: neither {preferred} ({reason}) nor a temporary directory ({exc.strerror or exc}) "
            "can be written; set store-dir to a directory that can"
        ) from exc
    return temporary, (
        f"{preferred} cannot be written ({reason}): state is in {temporary}, "
        "and this service's identity will be lost at its next start; set store-dir to a directory that lasts"
    )
