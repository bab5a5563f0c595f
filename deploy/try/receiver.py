"""A receiver of webhooks: keeps the body of each message as a line of /tmp/messages.jsonl."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

MESSAGES = Path("/tmp/messages.jsonl")  # noqa: S108 - of its container alone


class Receiver(BaseHTTPRequestHandler):
    """Takes every message."""

    def do_POST(self) -> None:
        """Keep a message and say so."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with MESSAGES.open("ab") as file:
            file.write(body + b"\n")
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    MESSAGES.touch()
    HTTPServer(("", 9000), Receiver).serve_forever()
