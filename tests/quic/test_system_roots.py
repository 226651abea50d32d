from pathlib import Path
from random import Random

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from connet_trio.quic.system_roots import load_system_roots


@pytest.fixture(scope="module")
def authorities() -> list[bytes]:
    """Three roots in PEM form."""
    return [trustme.CA(organization_name=f"test {number}").cert_pem.bytes() for number in range(3)]


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where OpenSSL looks for `bundle.pem` and for hashed names; empty at first."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    return tmp_path


def test_the_bundle_is_read(folder: Path, authorities: list[bytes]) -> None:
    (folder / "bundle.pem").write_bytes(b"".join(authorities))
    assert set(load_system_roots()) == {der_of(pem) for pem in authorities}


def test_a_hashed_directory_is_read_though_openssl_would_wait_until_asked(
    folder: Path, authorities: list[bytes]
) -> None:
    (folder / "bundle.pem").write_bytes(authorities[0])
    (folder / "0a1b2c3d.0").write_bytes(authorities[1])
    (folder / "0a1b2c3d.1").write_bytes(authorities[2])
    assert load_system_roots() == tuple(der_of(pem) for pem in authorities)


def test_several_directories_are_read(folder: Path, authorities: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        (folder / str(number)).mkdir()
        (folder / str(number) / "0a1b2c3d.0").write_bytes(authorities[number])
    monkeypatch.setenv("SSL_CERT_DIR", f"{folder / '1'}:{folder / 'missing'}::{folder / '2'}")
    assert load_system_roots() == (der_of(authorities[1]), der_of(authorities[2]))


def test_a_root_that_is_in_both_places_comes_once(folder: Path, authorities: list[bytes]) -> None:
    (folder / "bundle.pem").write_bytes(authorities[0])
    (folder / "0a1b2c3d.0").write_bytes(authorities[0])
    assert load_system_roots() == (der_of(authorities[0]),)


def test_files_that_openssl_would_not_open_are_left_alone(folder: Path, authorities: list[bytes]) -> None:
    for name in ("root.pem", "0a1b2c3d.r0", "0a1b2c3d", "0A1B2C3D.0"):
        (folder / name).write_bytes(authorities[0])
    assert load_system_roots() == ()


def test_what_cannot_be_read_does_not_spoil_the_rest(folder: Path, authorities: list[bytes]) -> None:
    (folder / "00000000.0").write_bytes(Random(1).randbytes(100))
    (folder / "00000001.0").mkdir()
    (folder / "00000002.0").symlink_to(folder / "missing")
    (folder / "00000003.0").write_bytes(authorities[0])
    assert load_system_roots() == (der_of(authorities[0]),)


def test_an_update_is_seen_by_the_next_call(folder: Path, authorities: list[bytes]) -> None:
    (folder / "bundle.pem").write_bytes(authorities[0])
    assert load_system_roots() == (der_of(authorities[0]),)
    (folder / "bundle.pem").write_bytes(authorities[1])
    assert load_system_roots() == (der_of(authorities[1]),)


def test_a_system_without_roots_has_none(folder: Path) -> None:
    assert load_system_roots() == ()
