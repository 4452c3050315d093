"""Static files over ASGI, before Django: whitenoise's index, headers and precompressed variants.

Its middleware would answer through Django's handler, which warns about synchronous iterators on every file. The
folder is read once at start; ``collectstatic`` comes before. Must not import Django.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from whitenoise import WhiteNoise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from whitenoise.responders import StaticFile

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

# What the manifest storage puts into names: such a file never changes, so browsers may keep it.
_HASHED = re.compile(r"\.[0-9a-f]{12}\.")
_CONDITIONS = {b"if-none-match", b"if-modified-since", b"accept-encoding", b"range"}
_CHUNK = 256 * 1024


class StaticFiles:
    """ASGI middleware: answers what lies under ``prefix``, hands on everything else."""

    def __init__(
        self, app: Application, root: Path, prefix: str, answered: Callable[[str, str, int], None] | None = None
    ) -> None:
        """``answered`` hears of each answer: method, route template, status."""
        self.app = app
        self.prefix = prefix
        self.answered = answered
        # whitenoise warns about a folder that is not there; before the first collectstatic that is no mistake.
        self.files: WhiteNoise | None = None
        if root.is_dir():
            self.files = WhiteNoise(None, root=str(root), prefix=prefix, immutable_file_test=_is_hashed)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        file: StaticFile | None = None
        if self.files is not None and scope["type"] == "http" and scope["path"].startswith(self.prefix):
            file = self.files.files.get(scope["path"])
        if file is None:
            await self.app(scope, receive, send)
            return
        environ = {
            "HTTP_" + name.decode("latin-1").upper().replace("-", "_"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in _CONDITIONS
        }
        response = file.get_response(scope["method"], environ)
        if self.answered is not None:
            self.answered(scope["method"], f"{self.prefix}{{path}}", int(response.status))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        headers.append((b"x-content-type-options", b"nosniff"))
        await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
        if response.file is not None:
            with response.file as stream:  # small files from the page cache: not worth a thread
                while chunk := stream.read(_CHUNK):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _is_hashed(_path: str, url: str) -> bool:
    return _HASHED.search(url) is not None
