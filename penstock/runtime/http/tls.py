"""Client TLS contexts, built on first use: ssl costs 10 ms to import and 10 to 20 ms to load the system's CAs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from penstock.runtime.http.options import Tls

if TYPE_CHECKING:
    import ssl

# Where distributions keep the bundle, for Python builds whose OpenSSL was compiled with another system's paths.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",
    "/usr/local/etc/ca-certificates/cert.pem",
)


class Contexts:
    """One `ssl.SSLContext` per `Tls` value, for the life of a pool."""

    __slots__ = ("_built",)

    def __init__(self) -> None:
        self._built: dict[Tls, ssl.SSLContext] = {}

    def get(self, tls: Tls) -> ssl.SSLContext:
        """Return the context for ``tls``, built once. Raises OSError or ssl.SSLError when a file is missing or is not
        PEM."""
        context = self._built.get(tls)
        if context is None:
            context = self._built[tls] = build(tls)
        return context


def build(tls: Tls) -> ssl.SSLContext:
    """Build a context for HTTP/1.1 over TLS 1.2 and later. SSL_CERT_FILE and SSL_CERT_DIR count when no CA is given."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file or tls.ca_dir:
        context.load_verify_locations(tls.ca_file, tls.ca_dir)
    else:
        _load_system(context)
    if tls.client_cert:
        context.load_cert_chain(tls.client_cert, tls.client_key, password=_refuse_password)
    return context


def _refuse_password() -> str:
    # Without a callback OpenSSL would ask on the terminal and block the whole process.
    raise ValueError("the client key is encrypted; give it without a passphrase")


def _load_system(context: ssl.SSLContext) -> None:
    import ssl

    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    paths = ssl.get_default_verify_paths()
    if context.cert_store_stats()["x509_ca"] or (paths.capath and os.listdir(paths.capath)):
        return
    for bundle in _BUNDLES:
        if os.path.exists(bundle):
            context.load_verify_locations(bundle)
            return
