"""Who somebody is: fingerprints, certificates and how they are judged, sealed tokens. Bytes in, bytes out."""

from connet_trio.identity.certificates import (
    Credential,
    EndpointIdentity,
    PrivateKey,
    dns_names,
    is_certificate,
    issue_identity,
    issue_server_credential,
    load_credential,
    load_roots,
    parse_certificate,
    server_name,
)
from connet_trio.identity.fingerprints import Realm, base32hex, certificate_key, new_connection_id, new_id, new_name
from connet_trio.identity.sealed_tokens import (
    X25519Pair,
    new_key_pair,
    open_client_authentication,
    open_reconnect_token,
    seal_client_authentication,
    seal_reconnect_token,
    shared_key,
)
from connet_trio.identity.trust import OperatorTrust, PinnedServer, ServerTrust, check_client

__all__ = [
    "Credential",
    "EndpointIdentity",
    "OperatorTrust",
    "PinnedServer",
    "PrivateKey",
    "Realm",
    "ServerTrust",
    "X25519Pair",
    "base32hex",
    "certificate_key",
    "check_client",
    "dns_names",
    "is_certificate",
    "issue_identity",
    "issue_server_credential",
    "load_credential",
    "load_roots",
    "new_connection_id",
    "new_id",
    "new_key_pair",
    "new_name",
    "open_client_authentication",
    "open_reconnect_token",
    "parse_certificate",
    "seal_client_authentication",
    "seal_reconnect_token",
    "server_name",
    "shared_key",
]
