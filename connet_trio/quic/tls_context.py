"""The part of the core that is TLS: which certificate a listener shows, and what each side makes of the other's.

aioquic verifies chains and names by rules of its own, takes a client without a certificate for an anonymous one, and
shows one certificate under every server name. What counts here is said in `handshake.py`, and asked of the core.
"""

from typing import TYPE_CHECKING

from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from connet_trio.errors import CertificateRejected
from connet_trio.quic.bounds import crypto_buffer_exceeded
from connet_trio.quic.engine_options import parsed_chain
from connet_trio.quic.limits import CRYPTO_BYTES

if TYPE_CHECKING:
    from connet_trio.quic.core import Core


class AlertCertificateRequired(tls.Alert):
    """The dialer showed no certificate."""

    description = tls.AlertDescription.certificate_required


class AlertUnknownCa(tls.Alert):
    """The dialer's certificate is not expected (alert 48, as the original answers)."""

    description = tls.AlertDescription.unknown_ca


class TlsContext(tls.Context):
    """aioquic's TLS with the decisions of `handshake.py`. Swapped in by class: the layout is the same."""

    core: "Core"

    def handle_message(self, input_data: bytes, output_buf: dict[tls.Epoch, Buffer]) -> None:
        """Take TLS bytes that are in order; a message longer than any of a handshake ends the connection."""
        if len(self._receive_buffer) + len(input_data) > CRYPTO_BYTES:
            raise crypto_buffer_exceeded()
        super().handle_message(input_data, output_buf)

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        # `Buffer.data` is what precedes the cursor: the whole message is a slice
        hello = tls.pull_client_hello(Buffer(data=input_buf.data_slice(0, input_buf.capacity)))
        answer = self.core.choose_answer(hello.server_name)
        self.certificate, *self.certificate_chain = parsed_chain(answer.credential.chain)
        self.certificate_private_key = answer.credential.private_key
        self._alpn_protocols = list(answer.alpns)
        self._request_client_certificate = answer.client_trust is not None
        if not hello.alpn_protocols:
            raise tls.AlertNoApplicationProtocol("no protocol name offered")
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf)

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        try:
            super()._set_peer_certificate(certificate)
        except x509.InvalidVersion as exc:  # no ValueError, so aioquic lets it through
            raise tls.AlertBadCertificate("Certificate could not be parsed") from exc

    def _server_handle_certificate(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate(input_buf)
        if self._peer_certificate is None:  # an empty Certificate message, which aioquic takes for an anonymous client
            raise AlertCertificateRequired("a client certificate is required")

    def _server_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._server_handle_certificate_verify(input_buf)  # proves possession of the key, nothing more
        try:
            self.core.judge_client(encode_certificate(self._peer_certificate))
        except CertificateRejected as exc:
            raise AlertUnknownCa(str(exc)) from exc

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_verify(input_buf)
        chain = [self._peer_certificate, *self._peer_certificate_chain]
        try:
            self.core.judge_server([encode_certificate(certificate) for certificate in chain])
        except CertificateRejected as exc:
            raise tls.AlertBadCertificate(str(exc)) from exc


def encode_certificate(certificate: x509.Certificate | None) -> bytes:
    """DER of a certificate TLS has accepted the shape of."""
    assert certificate is not None
    return certificate.public_bytes(Encoding.DER)
