"""Who may ask what: TLS files, tokens with scopes, and which call needs which scope.

Tokens come from a file with one a line, ``NAME SCOPE[,SCOPE] TOKEN``; ``sha256:`` and 64 hexadecimal digits may stand
in for the token. Empty lines and lines that begin with ``#`` are left out. Only digests are held, and no message says
more of a line than its number: what stands in it may be a secret in the wrong place.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import grpc

from liqserver.live.errors import ScopeMissing, TokenRefused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What RFC 6750 lets a bearer token consist of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


class AuthError(Exception):
    """The server cannot be protected as asked; the message says why, and never holds a secret."""


class Scope(StrEnum):
    """What a token allows. None includes another."""

    READ = "read"
    PUBLISH = "publish"
    ADMIN = "admin"


def scope_of(method: str) -> Scope:
    """Return the scope that a method of this project, ``/package.Service/Method``, needs."""
    if method == "/liqserver.v1.MarketDataService/Publish":
        return Scope.PUBLISH
    if method.startswith(("/liqserver.v1.LiquidationService/", "/liqserver.v1.MarketDataService/")):
        return Scope.READ
    # A service that comes later is closed until somebody opens it here.
    return Scope.ADMIN


class _Entry(NamedTuple):
    digest: bytes
    scopes: frozenset[Scope]


class Tokens:
    """The tokens of a file.

    Parameters
    ----------
    path : Path
        The file, which nobody but its owner and group may read, and nobody but its owner write.

    Raises
    ------
    AuthError
        If it cannot be read, others may read it, or a line is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read_tokens(path)

    def __len__(self) -> int:
        return len(self._entries)

    def reload(self) -> None:
        """Read the file again; what was read before stays in force if that raises AuthError.

        Calls under way go on with what they were let in with.
        """
        self._entries = _read_tokens(self._path)

    def check(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Check that a call with ``metadata`` may use ``method``.

        Raises
        ------
        TokenRefused
            If there is no token, or none that is known.
        ScopeMissing
            If it does not have the scope that the method needs.
        """
        given = [value for key, value in metadata if key == "authorization"]
        scheme, _, token = given[0].partition(" ") if len(given) == 1 and isinstance(given[0], str) else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("TOKEN_MISSING", "this server wants a token: metadata authorization: Bearer TOKEN, once")
        digest = hashlib.sha256(token.strip().encode()).digest()
        found: frozenset[Scope] | None = None
        for entry in self._entries:  # all of them: how long it takes tells nothing
            if hmac.compare_digest(entry.digest, digest):
                found = entry.scopes
        if found is None:
            raise TokenRefused("TOKEN_UNKNOWN", "this server does not know the token")
        needed = scope_of(method)
        if needed not in found:
            raise ScopeMissing(needed, sorted(found))


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of an encrypted server; with ``client_ca``, clients need a certificate signed by it.

    Attributes
    ----------
    cert, key : Path
        Certificate with the chain up to its authority, and its key, which nobody but its owner and group may read.
    client_ca : Path or None
        Certificates of the authorities of clients.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC needs; raises AuthError if a file cannot be used."""
        cert, key = _read(self.cert), _read(self.key, private=True)
        client_ca = None if self.client_ca is None else _read(self.client_ca)
        # gRPC takes anything, and then fails every handshake without a word.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise AuthError(f"{self.cert} and {self.key} are no certificate with its key: {_said(error)}") from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise AuthError(f"{self.client_ca} holds no certificate: {_said(error)}") from None
        return grpc.ssl_server_credentials(
            [(key, cert)], root_certificates=client_ca, require_client_auth=client_ca is not None
        )


def _no_password() -> str:
    raise AuthError("the key of the certificate is encrypted: give one that is not, readable by its owner alone")


def _said(error: ssl.SSLError) -> str:
    return (error.reason or "not in PEM format").lower().replace("_", " ")


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & _OTHERS:
                raise AuthError(
                    f"{path} is open to others, mode {mode:03o}: it holds secrets, so `chmod 600` it "
                    "(640 where its group is to read it)"
                )
            return file.read()
    except OSError as error:
        raise AuthError(f"{path} cannot be read: {error.strerror}") from error


def _read_tokens(path: Path) -> tuple[_Entry, ...]:
    try:
        text = _read(path, private=True).decode("ascii")
    except UnicodeDecodeError as error:
        raise AuthError(f"{path}: byte {error.start} is not ASCII") from None
    names: set[str] = set()
    entries: list[_Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 3:
            raise AuthError(f"{path}, line {number}: {len(fields)} fields, must be NAME SCOPE[,SCOPE] TOKEN")
        name, scopes, token = fields
        if not _NAME.fullmatch(name) or name in names:
            raise AuthError(f"{path}, line {number}: NAME must be a name of its own, of letters, digits, '.', '_', '-'")
        names.add(name)
        if not set(scopes.split(",")) <= set(Scope):
            raise AuthError(f"{path}, line {number}: SCOPE must be {', '.join(Scope)}, or several with ',' between")
        entry = _Entry(_digest(token, f"{path}, line {number}"), frozenset(map(Scope, scopes.split(","))))
        if any(entry.digest == other.digest for other in entries):
            raise AuthError(f"{path}, line {number}: an earlier line has the same TOKEN")
        entries.append(entry)
    if not entries:
        raise AuthError(f"{path} holds no token: nobody could ask anything")
    return tuple(entries)


def _digest(token: str, where: str) -> bytes:
    if token.startswith("sha256:"):
        stated = _DIGEST.fullmatch(token)
        if stated is None:
            raise AuthError(f"{where}: after sha256: there must be 64 hexadecimal digits")
        return bytes.fromhex(stated[1])
    if not _TOKEN.fullmatch(token):
        raise AuthError(f"{where}: TOKEN must be 16 to 512 letters, digits or any of -._~+/")
    return hashlib.sha256(token.encode()).digest()
