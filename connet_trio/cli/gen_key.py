"""`connet-trio gen-key`: a key pair, written as the original does (protocol section 12.7)."""

import secrets

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connet_trio.cli.commands import StrictCommand
from connet_trio.identity.fingerprints import base32hex

SEED_BYTES = 32


def gen_key_command() -> click.Command:
    """Writes a new pair to stdout."""

    def run() -> None:
        seed = secrets.token_bytes(SEED_BYTES)
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        click.echo(f"PRIVATE:  {base32hex(seed)}\nPUBLIC:   {base32hex(public)}")

    return StrictCommand(
        "gen-key",
        callback=run,
        params=[],
        help="Write a new Ed25519 key pair: the 32 bytes of its seed and of its public key, in base 32 (0-9a-v). "
        "The seed also does as direct-stateless-reset-key of a client.",
    )
