"""A working directory with the files configurations name, and ways to write and load a configuration there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from connet_trio.config import Loaded, load_client, load_control, load_relay, load_server
from connet_trio.errors import ConfigError

LOADERS: Mapping[str, Callable[..., Loaded[Any]]] = {
    "client": load_client,
    "server": load_server,
    "control": load_control,
    "relay": load_relay,
}

# Directories that are not looked at, so that no test depends on the machine.
ENVIRONMENT = {"CONNET_CACHE_DIR": "/cache", "CONNET_STATE_DIR": "/state"}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def issued(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a file, readable by its owner only, into the working directory; its path is relative."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, content: str | bytes, mode: int = 0o600) -> Path:
        file = Path(name)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        return file

    return write_file


@pytest.fixture
def load(write: Callable[..., Path], authority: trustme.CA, issued: trustme.LeafCert) -> Callable[..., Loaded[Any]]:
    """Loads a service from texts, as `a.toml` and so on, next to a CA, a certificate with its key, and tokens."""
    write("ca.pem", authority.cert_pem.bytes())
    write("cert.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    write("key.pem", issued.private_key_pem.bytes())
    write("client.token", "file-token\n")
    write("client.tokens", "one\n\n  two\t\r\n")
    write("relay.token", "\n relay-token \nanother\n")
    write("relay.tokens", "relay-token\n")

    def load_texts(
        service: str,
        *texts: str,
        flags: Mapping[str, object] | None = None,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> Loaded[Any]:
        files = [write(f"{letter}.toml", text) for letter, text in zip("abc", texts, strict=False)]
        return LOADERS[service](files, flags or {}, environment)

    return load_texts


@pytest.fixture
def load_error(load: Callable[..., Loaded[Any]]) -> Callable[..., str]:
    """The text of the error that loading raises; arguments are those of `load`."""

    def error(*args: str, **kwargs: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            load(*args, **kwargs)
        return str(caught.value)

    return error
