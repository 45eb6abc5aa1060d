"""Certificates for 127.0.0.1: good ones, expired ones, and those of somebody else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme


class PEMs:
    """An authority with a server's and a client's certificate, as files and as contexts."""

    def __init__(self, folder: Path, name: str = "ours") -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._authority = trustme.CA()
        self.ca_file = self._write("ca.pem", self._authority.cert_pem)
        client = self._authority.issue_cert("agent@example.com")
        self.cert_file = self._write("agent.pem", *client.cert_chain_pems)
        self.key_file = self._write("agent.key", client.private_key_pem)
        self.strange_file = str(self._folder / "strange.txt")
        Path(self.strange_file).write_text("é", encoding="utf-8")

    def server(self, host: str = "127.0.0.1", *, is_expired: bool = False) -> trustme.LeafCert:
        return self._authority.issue_cert(host, not_after=datetime.now(UTC) - timedelta(days=1) if is_expired else None)

    def context(self, certificate: trustme.LeafCert, *, wants_client: bool = False) -> ssl.SSLContext:
        """For an HTTP server."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(made)
        if wants_client:
            self._authority.configure_trust(made)
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def credentials(self, certificate: trustme.LeafCert, *, wants_client: bool = False) -> grpc.ServerCredentials:
        """For a gRPC server."""
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        return grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), chain)],
            root_certificates=self._authority.cert_pem.bytes() if wants_client else None,
            require_client_auth=wants_client,
        )

    def _write(self, name: str, *pems: trustme.Blob) -> str:
        path = self._folder / name
        path.write_bytes(b"".join(pem.bytes() for pem in pems))
        return str(path)
