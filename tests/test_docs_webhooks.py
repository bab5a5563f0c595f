"""The verifiers in docs/webhooks.md do what they promise."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.ledger.webhook_keys import Key
from scheduler.ledger.webhook_tables import KeyKind
from scheduler.webhooks import signing

PAGE = Path(__file__).parents[1] / "docs" / "webhooks.md"
SNIPPET = re.compile(r"<!-- snippet: (.*?) -->\n```\w+\n(.*?)```", re.DOTALL)
BODY = '{"version": 1, "type": "batch.finished", "data": {"source": "ä"}}'.encode()
NOW = datetime.now(UTC)


def key(number: int, kind: KeyKind) -> Key:
    return Key(
        id=number,
        kind=kind,
        subscription_id=None,
        secret=bytes([number]) * 32,
        created_at=NOW,
        signs_from=NOW,
        expires_at=None,
        signs=True,
    )


HMAC, PUBLIC, OTHER = key(1, KeyKind.HMAC), key(2, KeyKind.ED25519), key(3, KeyKind.HMAC)


def headers(*, late_s: int = 0) -> dict[str, str]:
    at = int(time.time()) - late_s
    return signing.standard([OTHER, HMAC, PUBLIC], message_id="evt_7", at=at, body=BODY)


def snippets() -> dict[str, str]:
    return dict(SNIPPET.findall(PAGE.read_text("utf-8")))


def by_python(name: str) -> Callable[[str, dict[str, str], bytes], object]:
    space: dict = {}
    exec(compile(snippets()[name], name, "exec"), space)  # the page's own words
    return space["verify"]


def by_node(folder: Path) -> Callable[[str, dict[str, str], bytes], object]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt install nodejs")
    call = (
        "\nconst [key, headers, body] = JSON.parse(process.argv[2]);"
        "\nconsole.log(JSON.stringify(verify(key, headers, Buffer.from(body, 'base64'))));\n"
    )
    script = folder / "verify.mjs"
    script.write_text(snippets()["javascript"] + call, "utf-8")

    def verify(spelt: str, given: dict[str, str], body: bytes) -> object:
        argument = json.dumps([spelt, given, base64.b64encode(body).decode()])
        done = subprocess.run(
            [node, script, argument], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return json.loads(done.stdout)

    return verify


@pytest.mark.parametrize(
    ("name", "signer"),
    [("python v1", HMAC), ("python v1a", PUBLIC), ("javascript", HMAC), ("javascript", PUBLIC)],
    ids=lambda each: each if isinstance(each, str) else str(each.kind),
)
def test_the_pages_verifiers_take_our_messages_and_no_others(
    tmp_path: Path, name: str, signer: Key
) -> None:
    verify = by_node(tmp_path) if name == "javascript" else by_python(name)
    spelt = signing.spelt(signer)

    assert verify(spelt, headers(), BODY) == json.loads(BODY)
    for given, body in ((headers(), BODY + b" "), (headers(late_s=400), BODY)):
        with pytest.raises(Exception, match=r"signature|old"):
            verify(spelt, given, body)
    with pytest.raises(Exception, match="signature"):
        verify(signing.spelt(key(9, signer.kind)), headers(), BODY)
