"""Opens packets by guessing their headers."""

from collections.abc import Generator, Iterable
from typing import Any

from aioquic.quic.packet import PACKET_FIXED_BIT, decode_packet_number
from cryptography.exceptions import InvalidTag

from connet_trio.quic.datagram_run import DatagramRun
from connet_trio.quic.fast.sealing import (
    KEY_PHASE_BIT,
    NONCE_BYTES,
    PROTECTED_BITS,
    SAMPLE_BYTES,
    SPIN_BIT,
    header_masks,
)

LONG_HEADER_BIT = 0x80
RESERVED_BITS, NUMBER_SIZE_BITS = 0x18, 0x03
LARGEST_NUMBER_BYTES = 4


class Opener:
    """Opens packets with a short header, of one destination ID and one key phase, in the order of their numbers.

    The guess is: a header like that of the last one, with the next number. A packet's seal covers its header, so a seal
    that fits the guess proves it, and the header on the wire need not be looked at. (Whoever alters a header on the
    way gets a packet taken that stock code would drop, but with no other content or number than its sender's.)
    Where the guess is wrong, the header is unmasked.
    """

    def __init__(self, keys: Any, *, destination_id: bytes, next_number: int, number_bytes: int) -> None:
        """`keys` is a CryptoContext of aioquic, ready to receive; the last two are what to guess first."""
        self._decrypt = keys.aead._aead.decrypt
        self._iv: int = keys.aead._iv
        self._protection = keys.hp
        self._phase_bit: int = keys.key_phase * KEY_PHASE_BIT
        self._number_at = 1 + len(destination_id)
        self._id = destination_id
        self._next_number = next_number
        self.number_bytes = number_bytes
        """How wide packet numbers are on the wire."""
        self.taken: list[range] = []
        """The numbers of the packets taken, ascending; complete once `payloads` has ended or been closed."""

    def payloads(self, runs: Iterable[DatagramRun]) -> Generator[bytes, None, None]:
        """The payload of each packet, up to the first that is for stock code.

        That is one of another kind or key phase, that is not newer than the others, or breaks a rule. A packet is taken
        when the next one is asked for; who closes this instead leaves the last one to stock code as well.
        """
        decrypt, iv = self._decrypt, self._iv
        first = number = self._next_number
        header_bytes, mask, base, spun_base = self._guess()
        try:
            for run in runs:
                data, size = run.data, run.size
                for at in range(0, len(data), size):
                    header = (spun_base if data[at] & SPIN_BIT else base) | number & mask
                    try:
                        payload = decrypt(
                            (iv ^ number).to_bytes(NONCE_BYTES, "big"),
                            data[at + header_bytes : at + size],
                            header.to_bytes(header_bytes, "big"),
                        )
                    except InvalidTag:
                        found, unguessed = self._open_unguessed(bytes(data[at : at + size]), number)
                        if unguessed is None:
                            return
                        payload = unguessed
                        if found != number:
                            self._note_taken(first, number)
                            first = number = found
                        header_bytes, mask, base, spun_base = self._guess()
                    yield payload
                    number += 1
        finally:
            self._note_taken(first, number)

    def _open_unguessed(self, data: bytes, next_number: int) -> tuple[int, bytes | None]:
        """Number and payload of a packet whose number is at least `next_number`."""
        number_at = self._number_at
        sample_at = number_at + LARGEST_NUMBER_BYTES
        if (
            len(data) < sample_at + SAMPLE_BYTES
            or data[1:number_at] != self._id
            or data[0] & (LONG_HEADER_BIT | PACKET_FIXED_BIT) != PACKET_FIXED_BIT
        ):
            return -1, None
        mask = header_masks(self._protection, [data[sample_at : sample_at + SAMPLE_BYTES]])
        first = data[0] ^ mask[0] & PROTECTED_BITS
        number_bytes = (first & NUMBER_SIZE_BITS) + 1
        header_bytes = number_at + number_bytes
        protected = int.from_bytes(data[number_at:header_bytes], "big")
        truncated = protected ^ int.from_bytes(mask[1 : 1 + number_bytes], "big")
        number = decode_packet_number(truncated, 8 * number_bytes, next_number)
        if first & (RESERVED_BITS | KEY_PHASE_BIT) != self._phase_bit or number < next_number:
            return -1, None
        header = bytes((first,)) + self._id + truncated.to_bytes(number_bytes, "big")
        try:
            payload = self._decrypt((self._iv ^ number).to_bytes(NONCE_BYTES, "big"), data[header_bytes:], header)
        except InvalidTag:
            return -1, None
        self.number_bytes = number_bytes
        return number, payload

    def _guess(self) -> tuple[int, int, int, int]:
        """Length of the header, the bits of it that hold a number, and the header of number 0 with both spins."""
        first = PACKET_FIXED_BIT | self._phase_bit | (self.number_bytes - 1)
        shift = 8 * self.number_bytes
        base, spun_base = (
            int.from_bytes(bytes((byte,)) + self._id, "big") << shift for byte in (first, first | SPIN_BIT)
        )
        return self._number_at + self.number_bytes, (1 << shift) - 1, base, spun_base

    def _note_taken(self, first: int, stop: int) -> None:
        if stop > first:
            self.taken.append(range(first, stop))
