"""The sender's own HTTP: what it does with answers of every kind, over real sockets."""

import asyncio
import datetime
import ssl
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scheduler.webhooks.client import Client
from scheduler.webhooks.schedule import Answer

LOCAL = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b'{"a": 1}'
Scripts = Sequence[Sequence[bytes]]


class Scripted:
    """A consumer that answers from a script: for each connection, an answer for each request.

    After its last answer a connection is closed. `requests` holds heads, and whether the body that
    they announce came.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = list(scripts)
        self.requests: list[tuple[str, bool]] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[self.connections]
        self.connections += 1
        for answer in script:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            self.requests.append((head, await reader.readexactly(length) == BODY))
            writer.write(answer)
            await writer.drain()
        writer.close()


def posted(
    scripts: Scripts, count: int = 1, *, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1"
) -> tuple[list[Answer], Scripted]:
    """Send messages one after the other to a scripted consumer."""
    consumer = Scripted(scripts)

    async def run() -> list[Answer]:
        server = await asyncio.start_server(consumer.serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        url = f"{'https' if tls else 'http'}://{name}:{port}/a%20b?c=d"
        async with server, Client(LOCAL) as client:
            return [await say(client, url) for _ in range(count)]

    return asyncio.run(run()), consumer


async def say(client: Client, url: str) -> Answer:
    answer = await client.post(url, BODY, {"webhook-id": "evt_1"}, timeout_s=2)
    await asyncio.sleep(0.02)  # the consumer closes, if it does
    return answer


def test_a_connection_serves_one_message_after_the_other() -> None:
    answers, consumer = posted([[OK, OK, OK]], 3)

    assert [(each.status, each.text) for each in answers] == [(200, "ok")] * 3
    assert consumer.connections == 1
    head, whole = consumer.requests[0]
    assert (whole, head.split("\r\n")[0]) == (True, "POST /a%20b?c=d HTTP/1.1")
    assert "\r\nwebhook-id: evt_1\r\n" in head
    assert "\r\nHost: 127.0.0.1:" in head


def test_a_consumer_that_closes_idle_connections_costs_no_failed_try() -> None:
    """Also one whose closing crosses the next message: nothing was answered, it is sent anew."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    answers, consumer = posted([[OK], [closing], [OK, b""], [OK]], 4)

    assert [each.status for each in answers] == [200] * 4
    assert (consumer.connections, len(consumer.requests)) == (4, 5)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, "ok"),
        (CHUNKED, 200, "ok"),
        (b"HTTP/1.0 204 None\r\n\r\n", 204, ""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nzz", 101, ""),
        (b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 503, ""),
        (OK + b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 200, "ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"\0" * 9999, 200, "\ufffd" * 1000),
        (b"SSH-2.0-OpenSSH_9.9\r\n", None, "NoHttp: no HTTP came"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, None, "longer than 65536 bytes"),
        (b"", None, "Disconnected: the connection was closed"),
    ],
)
def test_answers_of_every_kind(answer: bytes, status: int | None, says: str) -> None:
    (found,), _ = posted([[answer]])

    assert found.status == status
    assert found.text.startswith(says) if status else says in found.text
    assert found.retry_after == ("7" if status == 503 else None)


def test_what_follows_an_answer_is_no_answer_to_the_next_message() -> None:
    doubled = OK + b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"

    answers, consumer = posted([[doubled, OK], [OK]], 2)

    assert [each.status for each in answers] == [200, 200]
    assert consumer.connections == 2


def test_a_line_end_in_a_header_is_a_bug_that_sends_nothing() -> None:
    async def run() -> None:
        async with Client(LOCAL) as client:
            await client.post("http://127.0.0.1:1/", b"", {"a": "b\r\nc: d"}, timeout_s=1)

    with pytest.raises(ValueError, match="line end"):
        asyncio.run(run())


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path, "127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)

    (stranger,), _ = posted([[OK]], tls=server)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    (known,), _ = posted([[OK]], tls=server)
    (misnamed,), _ = posted([[OK]], tls=server, name="localhost")

    assert (stranger.status, known.status, misnamed.status) == (None, 200, None)
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.text
    assert "Hostname mismatch" in misnamed.text


def certificate(folder: Path, address: str) -> Path:
    """Make a certificate for an address, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "consumer")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(secret + made.public_bytes(pem))
    return path
