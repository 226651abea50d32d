"""When a leaf of ours is to be issued again."""

from random import Random

import pytest

from connet_trio.errors import CertificateRejected
from connet_trio.identity import (
    RENEWAL_MARGIN_SECONDS,
    EndpointIdentity,
    Realm,
    check_client,
    issue_identity,
    issue_server_credential,
    needs_renewal,
)

NOW = 1_800_000_000.0
DAY, YEAR = 86_400.0, 365 * 86_400.0


def issued(wall_now: float = NOW) -> EndpointIdentity:
    return issue_identity(Realm.PEER, wall_now=wall_now, entropy=Random(1).randbytes)


@pytest.mark.parametrize(
    ("wall_now", "expected"),
    [
        (NOW, False),
        (NOW + YEAR, False),
        (NOW + 2 * YEAR - 30 * DAY - 1, False),
        (NOW + 2 * YEAR - 30 * DAY, True),
        (NOW + 2 * YEAR + 1, True),
        (NOW + 100 * YEAR, True),
        (NOW - 300, False),
        (NOW - 301, True),
        (0.0, True),
    ],
)
def test_a_leaf_is_renewed_when_it_has_not_begun_has_ended_or_ends_within_a_month(
    wall_now: float, expected: bool
) -> None:
    identity = issued()
    relay = issue_server_credential(["r.invalid"], [], wall_now=NOW, entropy=Random(2).randbytes)
    for credential in (identity.server, identity.client, relay):
        assert needs_renewal(credential.der, wall_now) is expected


def test_the_margin_is_a_month_unless_said() -> None:
    assert RENEWAL_MARGIN_SECONDS == 30 * DAY
    der = issued().server.der
    assert not needs_renewal(der, NOW + 2 * YEAR - 1, margin_seconds=0.0)
    assert needs_renewal(der, NOW + 2 * YEAR - 1, margin_seconds=2.0)


@pytest.mark.parametrize("wall_now", [0.0, NOW, 4_000_000_000.0])
def test_a_fresh_leaf_needs_no_renewal_whatever_the_clock_says(wall_now: float) -> None:
    assert not needs_renewal(issued(wall_now).client.der, wall_now)


def test_whatever_others_refuse_for_its_dates_is_renewed_and_they_speak_of_clocks() -> None:
    der = issued().client.der
    for wall_now in (NOW - 300, NOW + 2 * YEAR):
        check_client(der, {der}, wall_now)
    for wall_now in (0.0, NOW - 301, NOW + 2 * YEAR + 1):
        assert needs_renewal(der, wall_now, margin_seconds=0.0)
        with pytest.raises(CertificateRejected, match="is one of the clocks wrong"):
            check_client(der, {der}, wall_now)


def test_what_is_no_certificate_is_rejected() -> None:
    with pytest.raises(CertificateRejected):
        needs_renewal(b"no DER", NOW)
