"""What every request has to pass: a limit on its size; the page loads nothing from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has its script inline, and makes templates of HTML by `new Function`.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
ENVELOPE = 256 * 1024  # bytes around a text or a file: JSON, names, the parts of a form
ESCAPED = 12  # bytes of a character in JSON at most: two `\\uXXXX`


class Limits:
    """ASGI middleware: answers 413 to a body that is too large, and adds `HEADERS` to responses.

    Args:
        max_chars: of each of the two texts.
        max_file_bytes: of an uploaded file.
    """

    def __init__(self, app: ASGIApp, *, max_chars: int, max_file_bytes: int):
        self.app = app
        self.most_of_text = 2 * ESCAPED * max_chars + ENVELOPE
        self.most_of_upload = max_file_bytes + ENVELOPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, as long as its body is within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"].rstrip("/").endswith("/upload")
        most = self.most_of_upload if is_upload else self.most_of_text
        received, is_too_large, is_answered = 0, False, False

        async def receive_at_most() -> Message:
            nonlocal received, is_too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                is_too_large = True
                raise _TooLarge
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal is_answered
            if is_too_large and not is_answered:  # whatever the framework makes of the error
                is_answered = True
                await _refuse(send, most)
            elif not is_too_large:
                is_answered = True
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
                await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > most:
            await _refuse(send, most)
            return
        try:
            await self.app(scope, receive_at_most, send_with_headers)
        except _TooLarge:
            if not is_answered:
                await _refuse(send, most)


class _TooLarge(Exception):
    """A body that is larger than the limit."""


async def _refuse(send: Send, most: int) -> None:
    text = f"The request is too large; at most {most:,} bytes are read.".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text)), *HEADERS]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text})
