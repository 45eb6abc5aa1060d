"""Who we are to a destination, and whom we trust: headers and certificates, whose files may change while we run."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from otel_latency.config.secret_file import read_secret
from otel_latency.config.sections import ForwardTLS
from otel_latency.config.values import Secret
from otel_latency.errors import ConfigError

_SYSTEM: Final = "/etc/ssl/certs/ca-certificates.crt"


class PEM(NamedTuple):
    """What gRPC wants to be given; None stands for its own authorities, and for no certificate of ours."""

    authorities: bytes | None
    key: bytes | None
    certificate: bytes | None


class Credentials:
    """Everything here reads files and belongs on a thread. *place* is the destination's path in the configuration."""

    def __init__(
        self,
        place: str,
        *,
        headers: Mapping[str, Secret],
        header_files: Mapping[str, str],
        tls: ForwardTLS,
        may_quote: bool = True,
    ) -> None:
        """Who is sent prompts may repeat them in an answer: *may_quote* says whether to show what it says."""
        self._place = place
        self._known = {name: value.reveal() for name, value in headers.items()}
        self._files = header_files
        self._tls = tls
        self._may_quote = may_quote

    @property
    def are_in_files(self) -> bool:
        """Whether `headers` may change."""
        return bool(self._files)

    @property
    def known(self) -> Mapping[str, str]:
        """The headers as they were last read."""
        return self._known

    @property
    def secrets(self) -> Iterable[str] | None:
        """What is to be left out of the far side's words; None where they are not to be repeated at all."""
        return self._known.values() if self._may_quote else None

    def read(self) -> Mapping[str, str]:
        """The headers as they are now; a file that cannot be read leaves its header as it was.

        Raises ConfigError when it has never been read.
        """
        for name, file in self._files.items():
            try:
                self._known[name] = _ascii(f"{self._place}.header_files.{name}", file)
            except ConfigError:
                if name not in self._known:
                    raise
        return self._known

    def context(self) -> ssl.SSLContext:
        """For HTTP. Raises ConfigError."""
        try:
            context = ssl.create_default_context(cafile=self._tls.ca_file)
        except OSError as error:
            raise self._unusable("ca_file", error) from None
        if self._tls.cert_file:
            try:
                context.load_cert_chain(self._tls.cert_file, self._tls.key_file, password=_no_password)
            except (OSError, ValueError) as error:
                raise self._unusable("cert_file", error) from None
        return context

    def pem(self) -> PEM:
        """For gRPC. Raises ConfigError."""
        self.context()  # tells what is wrong, while grpcio keeps that to itself
        system = ssl.get_default_verify_paths().cafile or _SYSTEM
        authorities = self._tls.ca_file or (system if Path(system).is_file() else None)
        return PEM(_bytes(authorities), _bytes(self._tls.key_file), _bytes(self._tls.cert_file))

    def _unusable(self, key: str, error: Exception) -> ConfigError:
        is_ca = key == "ca_file"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            place = f"{self._place}.tls.{key if is_ca else 'cert_file or key_file'}"
            reason = error.strerror or type(error).__name__
            return ConfigError(f"{place}: the file cannot be read ({reason}): check the name and its rights")
        cure = (
            "write the name of a PEM file" if is_ca else "write a certificate and its key, in PEM, without a password"
        )
        return ConfigError(f"{self._place}.tls.{key}: the file cannot be used: {cure}")


def _ascii(place: str, file: str) -> str:
    text = read_secret(place, file).reveal()
    if not text.isascii():
        raise ConfigError(f"{place}: the file has characters that no header has: write the value in ASCII")
    return text


def _bytes(file: str | None) -> bytes | None:
    return Path(file).read_bytes() if file else None


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key has a password")
