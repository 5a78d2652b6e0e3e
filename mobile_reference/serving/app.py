"""The application behind ``mien serve``: one page, one upload at a time, nothing kept.

A page of another origin can neither read it, nor post to it, nor reach it by a name that leads here (DNS
rebinding). A photograph is rated in a process of its own.
"""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mien.mobile_reference.errors import MienError, UsageError
from mien.mobile_reference.output.text import shown
from mien.mobile_reference.report.page import Block, Page, Section, Text, Upload, write_page

from .look import Look, sections

LARGEST = 32 << 20
"""Bytes of a request; more is refused before it is read."""
HOSTS = ["127.0.0.1", "localhost"]
# With "no-referrer" a browser would say that the page's own form comes from the origin "null".
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
Rate = Callable[[Path], Look]


class UploadError(UsageError):
    """A request that holds no photograph that would be read; ``status`` is what HTTP calls it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _InMemory(MultiPartParser):
    spool_max_size = LARGEST


def make_app(name: str, rate: Rate) -> Starlette:
    """Make the application of a bundle of this ``name``; ``rate`` may raise any error of mien's."""

    async def show(_: Request) -> Response:
        return _answer(name, 200, [])

    async def take(request: Request) -> Response:
        try:
            file_name, photograph = await _photograph(request)
            return _answer(name, 200, sections(file_name, _rated(rate, file_name, photograph)))
        except UploadError as error:
            return _refusal(name, error.status, error)
        except MienError as error:
            return _refusal(name, 422, error)

    routes = [Route("/", show, methods=["GET"]), Route("/", take, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)])


def _refusal(name: str, status: int, error: MienError) -> Response:
    return _answer(name, status, [Section("Not rated", [Text(str(error), "note")])])


def _answer(name: str, status: int, found: list[Section]) -> Response:
    lead: list[Block] = [
        Text("The photograph stays on this machine, and is not kept."),
        Upload("photograph", "Rate it"),
    ]
    return HTMLResponse(write_page(Page("mien serve", name, lead, found)), status, _HEADERS)


async def _photograph(request: Request) -> tuple[str, bytes]:
    """Read the one file of a request, in memory, and the name that it was given."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin not in (None, f"http://{host}"):
        raise UploadError(403, f"the page {origin:.100} is not of this server; use its own page")
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data") or "boundary=" not in kind:
        raise UploadError(415, "a form with a file was expected; choose a photograph on the page")
    try:
        form = await _InMemory(request.headers, _capped(request), max_files=1, max_fields=0).parse()
    except MultiPartException as error:
        raise UploadError(400, f"the form cannot be read ({error.message}); choose one photograph") from error
    upload = form.get("photograph")
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise UploadError(400, "no file came; choose a photograph")
    return upload.filename, await upload.read()


async def _capped(request: Request) -> AsyncGenerator[bytes, None]:
    """Pass a body on while it is not too large."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST:
            raise UploadError(413, f"the file has more than {LARGEST >> 20} MiB; give a smaller one")
        yield chunk


def _rated(rate: Rate, name: str, photograph: bytes) -> Look:
    """Rate bytes by a file that is gone before the answer is."""
    with TemporaryDirectory(prefix="mien-serve-") as folder:
        file = Path(folder) / "photograph"
        file.write_bytes(photograph)
        try:
            return rate(file)
        except MienError as error:
            raise UploadError(422, str(error).replace(str(file), shown(name))) from error
