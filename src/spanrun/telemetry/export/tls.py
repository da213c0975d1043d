"""TLS of an exporter: the files that it trusts and shows, without any prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    import ssl


class TlsFiles(NamedTuple):
    """PEM files.

    Attributes:
        certificate: Of the authorities to trust; None for the system's.
        client_key: The private key; None where it is in ``client_certificate``.
        client_certificate: The chain to show.
    """

    certificate: Path | None = None
    client_key: Path | None = None
    client_certificate: Path | None = None


class UnusableFile(ValueError):  # noqa: N818 -- it says what it is
    """A file can't be used.

    Attributes:
        path: Which one.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(fault)
        self.path = path


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """What a connection over TLS needs.

    Raises:
        UnusableFile: If a file can't be used.
    """
    import ssl  # noqa: PLC0415 -- 10 ms, and gRPC has its own

    certificate, key, chain = files
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        where = certificate or Path("the system's certificates")
        raise UnusableFile(where, _reason(error)) from error
    if chain is not None:
        _show(context, chain, key)
    return context


def _show(context: ssl.SSLContext, chain: Path, key: Path | None) -> None:
    secret = key or chain

    def ask() -> NoReturn:
        """Instead of OpenSSL, which would prompt on the terminal."""
        raise UnusableFile(
            secret,
            "the key is encrypted, and nobody can be asked for its passphrase: name "
            "one that isn't, as `openssl pkey -in KEY -out PLAIN` writes it",
        )

    try:
        context.load_cert_chain(chain, key, password=ask)
    except OSError as error:
        raise UnusableFile(secret, _reason(error)) from error


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)  # of OpenSSL
    if reason == "KEY_VALUES_MISMATCH":
        return "the key isn't that of the certificate"
    if reason or "PEM" in str(error):
        return f"not a PEM file as it is needed here ({reason or 'PEM'})"
    return error.strerror or str(error)
