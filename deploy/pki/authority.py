"""A certificate authority in a folder: what it has given out is a file beside its key, nothing else is needed.

Keys are ECDSA P-256 (RFC 5480), certificates X.509 v3 (RFC 5280): a certificate is good for a client or for a server,
never for both (but for Dask, whose workers are both, and whose authority is another), and the name of a station stands
in its CN, which the broker takes as its user name.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.errors import DeployError
from deploy.pki.rules import access_rules
from station_agent import wire

CA_YEARS: Final = 20
CRL_YEARS: Final = 10
"""A list that has ended shuts everybody out: it is made anew with every revocation, and lasts."""
_INDEX: Final = "issued.jsonl"
_HOST: Final = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}")
_BACKDATED: Final = timedelta(hours=25)
"""Stations' clocks may be behind."""


class Kind(StrEnum):
    """Whom a certificate is for."""

    STATION = "station"
    WORKER = "worker"
    BROKER = "broker"
    COMPUTE = "compute"


class State(StrEnum):
    """What a certificate is worth now."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Record:
    """A certificate that was given out: times in ISO 8601, UTC; `revoked` empty while it is not."""

    name: str
    kind: Kind
    serial: str
    begins: str
    ends: str
    revoked: str = ""
    reason: str = ""

    def state(self, now: datetime) -> State:
        """Return what it is worth at a time."""
        if self.revoked:
            return State.REVOKED
        return State.VALID if now < datetime.fromisoformat(self.ends) else State.EXPIRED


class Authority:
    """The authority in a folder.

    Parameters
    ----------
    folder : path
        Holds ``ca.crt``, ``ca.key`` (mode 0600), ``crl.pem``, ``acl`` and what was given out.

    Raises
    ------
    DeployError
        Where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self.certificate.is_file():
            raise DeployError(f"{folder} holds no authority (no ca.crt): make one with `skyledger pki init`")

    @classmethod
    def create(cls, folder: Path, name: str) -> Authority:
        """Make an authority; its own name is for people.

        Raises
        ------
        DeployError
            Where there is one already: its certificates would be worth nothing.
        """
        if (folder / "ca.crt").exists():
            raise DeployError(f"{folder} holds an authority already: every certificate it gave out would be worthless")
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        now, subject = datetime.now(UTC), _subject(name)
        public = key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=365 * CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(folder / "ca.key", _pem(key), secret=True)
        _write(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        authority = cls(folder)
        authority._keep([])
        authority.write_crl()
        return authority

    @property
    def certificate(self) -> Path:
        """Its certificate: what everybody trusts."""
        return self.folder / "ca.crt"

    @property
    def crl(self) -> Path:
        """The list of what is revoked."""
        return self.folder / "crl.pem"

    @property
    def access(self) -> Path:
        """Mosquitto's access list."""
        return self.folder / "acl"

    def records(self) -> list[Record]:
        """Return all that was given out, in order; raises DeployError where its list cannot be read."""
        try:
            lines = (self.folder / _INDEX).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DeployError(f"the authority's list cannot be read: {error}; run as who owns {self.folder}") from error
        return [Record(**{**row, "kind": Kind(row["kind"])}) for row in map(json.loads, lines)]

    def ending(self, limit: datetime) -> list[Record]:
        """Return the certificates that end before a time, or have ended, and whose name has none that lasts longer."""
        newest = {row.name: row for row in self.records() if not row.revoked}
        return [row for row in newest.values() if datetime.fromisoformat(row.ends) < limit]

    def issue(
        self,
        name: str,
        kind: Kind,
        *,
        folder: Path,
        days: int,
        hosts: Sequence[str] = (),
        request: Path | None = None,
    ) -> Record:
        """Write ``NAME.crt`` and, where there is no request, ``NAME.key`` into a folder.

        Parameters
        ----------
        name : str
            The station's or worker's; the broker's first host name.
        kind : Kind
        folder : path
            Made where it is not there.
        days : int
            How long it is good.
        hosts : sequence of str
            Names and addresses of a broker.
        request : path, optional
            A certificate signing request (PEM): the key stays where it was made. Of its content the public key alone
            is taken.

        Raises
        ------
        DeployError
            Where the name is none, or another kind's; there is a valid certificate of the name; or the request is
            damaged.
        """
        _require_name(name, kind)
        self._require_one_purpose(kind)
        other = next((r for r in self.records() if r.name == name and r.kind is not kind), None)
        if other is not None:
            raise DeployError(
                f"{name} is the name of a {other.kind} already: whoever had it could speak as this {kind}"
            )
        current = [r for r in self.records() if r.name == name and r.state(datetime.now(UTC)) is State.VALID]
        if current:
            raise DeployError(f"{name} has a certificate until {current[0].ends[:10]}: renew it, or revoke it first")
        return self._give(name, kind, folder=folder, days=days, hosts=hosts, request=request)

    def renew(self, name: str, *, folder: Path, days: int, request: Path | None = None) -> Record:
        """Write a new certificate, with a new key, of somebody who has one; the old one stays good until it ends.

        Raises
        ------
        DeployError
            Where there is none, or it was revoked: then somebody must decide anew.
        """
        record = self.newest(name)
        if record.state(datetime.now(UTC)) is State.REVOKED:
            raise DeployError(
                f"the certificate of {name} was revoked ({record.reason}): issue a new one if that is meant"
            )
        return self._give(name, record.kind, folder=folder, days=days, hosts=self._hosts(record), request=request)

    def revoke(self, name: str, reason: str) -> list[Record]:
        """Revoke every certificate of a name and write the list anew; returns what was revoked.

        Raises
        ------
        DeployError
            Where there is none that is not revoked yet.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = self.records()
        changed = [row for row in rows if row.name == name and not row.revoked]
        if not changed:
            raise DeployError(f"{name} has no certificate that could be revoked; see `skyledger pki list`")
        serials = {row.serial for row in changed}
        self._keep([_revoked(row, now, reason) if row.serial in serials else row for row in rows])
        self.write_crl()
        return [row for row in self.records() if row.serial in serials]

    def equip_broker(self, name: str, folder: Path) -> None:
        """Give a broker's files the names that ``mosquitto.conf`` knows, and lay beside them what it reads."""
        for suffix in ("crt", "key"):
            file = folder / f"{name}.{suffix}"
            if file.exists():  # after a request there is no key
                file.rename(folder / f"broker.{suffix}")
        for kept in (self.certificate, self.crl, self.access):
            _write(folder / kept.name, kept.read_bytes())

    def newest(self, name: str) -> Record:
        """Return the newest certificate of a name; raises DeployError where there is none."""
        found = [row for row in self.records() if row.name == name]
        if not found:
            known = ", ".join(sorted({row.name for row in self.records()})) or "none"
            raise DeployError(f"{name} has no certificate here; names that have: {known}")
        return found[-1]

    def write_crl(self) -> None:
        """Write the list of what is revoked, from now on."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._own().subject)
            .last_update(now - _BACKDATED)
            .next_update(now + timedelta(days=365 * CRL_YEARS))
        )
        for row in self.records():
            if row.revoked:
                entry = x509.RevokedCertificateBuilder().serial_number(int(row.serial, 16))
                builder = builder.add_revoked_certificate(
                    entry.revocation_date(datetime.fromisoformat(row.revoked)).build()
                )
        crl = builder.sign(self._key(), hashes.SHA256())
        _write(self.crl, crl.public_bytes(serialization.Encoding.PEM))

    def _require_one_purpose(self, kind: Kind) -> None:
        """Refuse to mix: whoever may compute, which is to run any program, must be nobody at the broker."""
        given = {record.kind is Kind.COMPUTE for record in self.records()}
        if given and given != {kind is Kind.COMPUTE}:
            what = "for stations and broker" if kind is Kind.COMPUTE else "for computing"
            raise DeployError(
                f"{self.folder} is an authority {what}: make another with `skyledger pki init --pki FOLDER`"
            )

    # --- what it keeps -------------------------------------------------------------------------

    def _own(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DeployError(f"{self.folder / 'ca.key'} is no key of this authority's kind (ECDSA)")
        return key

    def _keep(self, rows: Sequence[Record]) -> None:
        """Write what was given out, and the broker's access list that follows from it."""
        _write(self.access, access_rules(r.name for r in rows if r.kind is Kind.WORKER and not r.revoked).encode())
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        _write(self.folder / _INDEX, text.encode())

    def _hosts(self, record: Record) -> list[str]:
        """Return the names a broker's certificate was given out for."""
        kept = self.folder / "given" / f"{record.serial}.crt"
        if record.kind is not Kind.BROKER:
            return []
        names = x509.load_pem_x509_certificate(kept.read_bytes()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        return [str(name.value) for name in names.value]

    def _give(
        self, name: str, kind: Kind, *, folder: Path, days: int, hosts: Sequence[str], request: Path | None
    ) -> Record:
        folder.mkdir(parents=True, exist_ok=True)
        key: ec.EllipticCurvePrivateKey | None = None
        if request is None:
            key = ec.generate_private_key(ec.SECP256R1())
            public = key.public_key()
        else:
            public = _public(request)
        now = datetime.now(UTC)
        begins, ends = now - _BACKDATED, now + timedelta(days=days)
        serial = x509.random_serial_number()
        server = kind is Kind.BROKER
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        use = both if kind is Kind.COMPUTE else both[:1] if server else both[1:]
        authority = self._key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(name))
            .issuer_name(self._own().subject)
            .public_key(public)
            .serial_number(serial)
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(use), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )
        if server:
            names = [_alternative(host) for host in dict.fromkeys((name, *hosts))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        record = Record(
            name, kind, f"{serial:x}", begins.isoformat(timespec="seconds"), ends.isoformat(timespec="seconds")
        )
        (self.folder / "given").mkdir(exist_ok=True)
        _write(self.folder / "given" / f"{record.serial}.crt", pem)
        self._keep([*self.records(), record])
        if key is not None:
            _write(folder / f"{name}.key", _pem(key), secret=True)
        _write(folder / f"{name}.crt", pem)
        return record


def _revoked(row: Record, when: str, reason: str) -> Record:
    return Record(row.name, row.kind, row.serial, row.begins, row.ends, when, reason)


def _require_name(name: str, kind: Kind) -> None:
    if kind is Kind.BROKER:
        if not _HOST.fullmatch(name):
            raise DeployError(f"{name!r} is no name of a host: give the broker's name or address")
        return
    if not wire.NAME.fullmatch(name):
        raise DeployError(f"{name!r} is no name of a {kind}: expected a-z, 0-9, - and _, at most 63, as in topics")


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _public(request: Path) -> ec.EllipticCurvePublicKey:
    try:
        read = x509.load_pem_x509_csr(request.read_bytes())
    except (OSError, ValueError) as error:
        raise DeployError(f"{request} is no certificate signing request in PEM: {error}") from error
    public = read.public_key()
    if not read.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
        raise DeployError(
            f"{request}: expected a request signed by its own ECDSA key (openssl ecparam -name prime256v1)"
        )
    return public


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write a file in one rename, readable by its owner alone where it is secret."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
