"""The command ``mien serve``."""

import errno
import logging
import socket
from functools import partial
from pathlib import Path

import click

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.text import tell
from mien.mobile_reference.run.child import Limits, in_child

from .options import examples

_HERE = "127.0.0.1"
_LIMITS = Limits(memory=4 << 30, seconds=60)


@click.command(epilog=examples("serve", "serve bundle --variant tflite-int8 --port 8080"))
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--variant", metavar="NAME", help="Variant of the bundle (default: float32, or the first).")
@click.option(
    "--port", default=8000, show_default=True, metavar="N", type=click.IntRange(0, 65535), help="0: any."
)
def serve(bundle: Path | None, variant: str | None, port: int) -> None:
    """Rate photographs on a page, with BUNDLE or what ships, on this machine alone.

    The page shows score, views and the time of each step. Nothing is kept. It needs the extra 'serve'.
    """
    import python_multipart  # noqa: F401 - Starlette says so late that it is missing
    import uvicorn

    from mien.mobile_reference.serving.app import make_app
    from mien.mobile_reference.serving.look import look_at

    opened = open_bundle(bundle or shipped_bundle())
    face_front(opened.spec)
    if variant:
        opened.variant(variant)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a form that is none gets an answer
    with _listening(port) as listening:
        tell(
            f"http://{_HERE}:{listening.getsockname()[1]}/ rates photographs by {opened.name}; Ctrl-C ends it"
        )
        app = make_app(
            opened.name, lambda file: in_child(partial(look_at, opened, variant, file), _LIMITS, file)
        )
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HERE, port))
        listening.listen()  # whoever reads the address may ask at once
    except OSError as error:
        listening.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise UsageError(
            f"port {port} is in use, or not yours; give another with --port, or 0 for any"
        ) from error
    return listening
