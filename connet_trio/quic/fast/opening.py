"""Opens packets by guessing their headers."""

from typing import Any

from aioquic.quic.packet import PACKET_FIXED_BIT, decode_packet_number
from cryptography.exceptions import InvalidTag

from connet_trio.quic.fast.sealing import KEY_PHASE_BIT, SAMPLE_BYTES, SPIN_BIT, header_masks

LONG_HEADER_BIT = 0x80
PROTECTED_BITS, RESERVED_BITS, NUMBER_SIZE_BITS = 0x1F, 0x18, 0x03
LARGEST_NUMBER_BYTES = 4


class Opener:
    """Opens packets with a short header, of one destination ID and one key phase, in the order of their numbers.

    The guess is: a header like that of the last one, with the next number. A packet's seal covers its header, so a seal
    that fits the guess proves it, and the header on the wire need not be unmasked. (Whoever alters those bits on the
    way gets a packet taken that stock code would drop, but with no other content or number than its sender's.)
    Where the guess is wrong, the header is unmasked.
    """

    def __init__(self, keys: Any, *, destination_id: bytes, next_number: int, number_bytes: int) -> None:
        """`keys` is a CryptoContext of aioquic, ready to receive."""
        self._decrypt = keys.aead._aead.decrypt
        self._iv: int = keys.aead._iv
        self._protection = keys.hp
        self._phase_bit: int = keys.key_phase * KEY_PHASE_BIT
        self._number_at = 1 + len(destination_id)
        self._id = destination_id
        self.next_number = next_number
        """One more than the number of the packet opened last; at first, the one to guess."""
        self._expect(number_bytes)

    def fits(self, data: bytes) -> bool:
        """Whether a datagram may be a packet of this kind."""
        return (
            data[1 : self._number_at] == self._id
            and data[0] & (LONG_HEADER_BIT | PACKET_FIXED_BIT) == PACKET_FIXED_BIT
            and len(data) >= self._number_at + LARGEST_NUMBER_BYTES + SAMPLE_BYTES
        )

    def open(self, data: bytes) -> bytes | None:
        """The payload of what `fits`; its number is now `next_number` - 1.

        None, with nothing changed, if it is for stock code: it is none of this key phase, breaks a rule, or is not
        newer than the others.
        """
        number, header_bytes = self.next_number, self._header_bytes
        header = (self._spun_base if data[0] & SPIN_BIT else self._base) | number & self._number_mask
        try:
            payload: bytes = self._decrypt(
                (self._iv ^ number).to_bytes(12, "big"), data[header_bytes:], header.to_bytes(header_bytes, "big")
            )
        except InvalidTag:
            return self._open_unguessed(data)
        self.next_number = number + 1
        return payload

    def _open_unguessed(self, data: bytes) -> bytes | None:
        number_at = self._number_at
        sample_at = number_at + LARGEST_NUMBER_BYTES
        mask = header_masks(self._protection, [data[sample_at : sample_at + SAMPLE_BYTES]])
        first = data[0] ^ mask[0] & PROTECTED_BITS
        if first & (RESERVED_BITS | KEY_PHASE_BIT) != self._phase_bit:
            return None
        number_bytes = (first & NUMBER_SIZE_BITS) + 1
        header_bytes = number_at + number_bytes
        protected = int.from_bytes(data[number_at:header_bytes], "big")
        truncated = protected ^ int.from_bytes(mask[1 : 1 + number_bytes], "big")
        number = decode_packet_number(truncated, 8 * number_bytes, self.next_number)
        if number < self.next_number:
            return None
        header = bytes((first,)) + self._id + truncated.to_bytes(number_bytes, "big")
        try:
            payload: bytes = self._decrypt((self._iv ^ number).to_bytes(12, "big"), data[header_bytes:], header)
        except InvalidTag:
            return None
        self.next_number = number + 1
        self._expect(number_bytes)
        return payload

    def _expect(self, number_bytes: int) -> None:
        self.number_bytes = number_bytes
        """How wide the packet numbers are on the wire."""
        self._header_bytes = self._number_at + number_bytes
        self._number_mask = (1 << 8 * number_bytes) - 1
        first = PACKET_FIXED_BIT | self._phase_bit | (number_bytes - 1)
        self._base = int.from_bytes(bytes((first,)) + self._id, "big") << 8 * number_bytes
        self._spun_base = int.from_bytes(bytes((first | SPIN_BIT,)) + self._id, "big") << 8 * number_bytes
