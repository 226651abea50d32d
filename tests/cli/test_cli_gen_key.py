import base64
import re

import pytest
from nacl.signing import SigningKey

from connet_trio.cli.main import main
from connet_trio.config.values import reset_key

PRINTED = r"PRIVATE:  ([0-9a-v]{52})\nPUBLIC:   ([0-9a-v]{52})\n"

# What `connet gen-key` of the original printed once.
ORIGINAL = """PRIVATE:  ohi8fdlqukkr3p63boqjcbocbvm0ni5h79qrpl58tgujo304tjdg
PUBLIC:   na3ohtigan7j7qq2f1plpulii81jcknplso5rjkakjp83lm6u6ag
"""


def pair(printed: str) -> tuple[bytes, bytes]:
    found = re.fullmatch(PRINTED, printed)
    assert found is not None
    private, public = (base64.b32hexdecode(text.upper() + "====") for text in found.groups())
    return private, public


def test_the_original_prints_seed_and_public_key() -> None:
    private, public = pair(ORIGINAL)
    assert bytes(SigningKey(private).verify_key) == public


def test_a_new_pair_is_printed_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = []
    for _ in range(2):
        assert main(["gen-key"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        private, public = pair(out)
        assert bytes(SigningKey(private).verify_key) == public
        assert reset_key(out.split()[1]) == private
        pairs.append(private)
    assert pairs[0] != pairs[1]
