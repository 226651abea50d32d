"""Fields that hold secrets are in no representation, whichever class will have the next one."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import attrs
import pytest

import connet_trio
from connet_trio.config.findings import Place
from connet_trio.config.tables import Setting

SECRET_NAME = re.compile("token|secret|key|password|authentication|private|nonce")
PLAIN = re.compile("str|bytes")
"""In the type of what would be shown as it is."""
SHOWN = {
    "Flag.key": "of the configuration",
    "Place.keys": "of the configuration",
    "Registration.certificate_key": "a fingerprint",
    "Admission.certificate_key": "a fingerprint",
    "ClientAuthentication.certificate_key": "a fingerprint",
    "RelayClientStatus.key": "a fingerprint",
    "Authenticate.relay_authentication_key": "a public key",
    "Authenticated.control_authentication_key": "a public key",
    "EcdhOffer.key_time": "a public key and when it was made",
}
"""Fields whose names sound like a secret, and what they hold."""


def attrs_classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(connet_trio.__path__, "connet_trio."):
        if found.name.startswith("connet_trio.testing") or found.name.endswith("__main__"):
            continue
        for thing in vars(importlib.import_module(found.name)).values():
            if inspect.isclass(thing) and attrs.has(thing) and thing.__module__ == found.name:
                yield thing


@pytest.mark.reliability(line=25)
def test_what_sounds_like_a_secret_is_kept_out_of_representations() -> None:
    shown = {
        f"{owner.__name__}.{field.name}"
        for owner in attrs_classes()
        for field in attrs.fields(owner)
        if field.repr is True
        and SECRET_NAME.search(field.name)
        and PLAIN.search(str(field.type))
        and "config.schema" not in owner.__module__  # whose `Setting` shows no value
    }
    assert shown == set(SHOWN)


@pytest.mark.reliability(line=25)
def test_the_value_of_a_setting_is_in_no_representation() -> None:
    assert "s3cr3t" not in repr(Setting("s3cr3t", Place("client.toml")))
