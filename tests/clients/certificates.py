"""A private authority and a certificate for fal's names, as docs/api.md describes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

AUTHORITY = "authority.pem"
NAMES = ("queue.fal.run", "fal.run", "rest.fal.ai", "v3.fal.media", "localhost")
DAY = timedelta(days=1)


def make(folder: Path) -> dict[str, str]:
    """Write key, certificate and authority into a folder; return the first two for uvicorn."""
    own_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _named("A private authority")
    signed = _builder(authority, authority, own_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])
    issued = _builder(_named(NAMES[0]), authority, key).add_extension(names, critical=False)
    paths = {name: folder / name for name in (AUTHORITY, "certificate.pem", "key.pem")}
    for name, builder in ((AUTHORITY, signed), ("certificate.pem", issued)):
        certificate = builder.sign(own_key, hashes.SHA256())
        paths[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths["key.pem"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {
        "ssl_certfile": str(paths["certificate.pem"]),
        "ssl_keyfile": str(paths["key.pem"]),
    }


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
