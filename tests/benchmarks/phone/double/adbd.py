"""A double of a phone's adb daemon: the real protocol on a socket, a folder as its file system.

Run as ``adbd.py ROOT PORT AUTH STORAGE SHELL``. With SHELL ``namespace`` it needs a user and mount namespace
of its own: the shell is then ROOT's, ARM64 mksh and toybox, through a binfmt_misc of the namespace; the
machine's own is never touched. With SHELL ``plain`` it is the machine's own, and paths of the phone are those
of ROOT. Not a phone: no Android, no SELinux, no USB.
"""

import os
import queue
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

VERSION, MOST = 0x01000001, 256 * 1024
BANNER = (
    b"device::ro.product.name=double;ro.product.model=Double;ro.product.device=double;features=shell_v2,cmd"
)
ARM64 = r":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:" + (
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F"
)


# Where a phone's paths begin, in a script.
PATHS = re.compile(r"(?<![\w.])/(?=(?:data/local|sys)/)")
Shell = Callable[["Stream", Path, str], None]


class Stream:
    """One open service."""

    def __init__(self, link: "Link", number: int, remote: int) -> None:
        self.link, self.number, self.remote = link, number, remote
        self.inbox: queue.Queue[bytes | None] = queue.Queue()
        self.granted = threading.Semaphore(0)
        self.rest = b""

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), self.link.most):
            self.link.send(b"WRTE", self.number, self.remote, data[start : start + self.link.most])
            self.granted.acquire()

    def read(self, count: int) -> bytes:
        while len(self.rest) < count:
            data = self.inbox.get()
            if data is None:
                raise EOFError
            self.rest += data
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


class Link:
    """The connection to one adb server."""

    def __init__(self, root: Path, shell: Shell, connection: socket.socket) -> None:
        self.root, self.shell, self.connection = root, shell, connection
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.most = MOST

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        word = struct.unpack("<I", command)[0]
        head = struct.pack("<6I", word, first, second, len(data), sum(data) & 0xFFFFFFFF, word ^ 0xFFFFFFFF)
        with self.lock:
            self.connection.sendall(head + data)

    def receive(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        file = self.connection.makefile("rb")
        while len(head := file.read(24)) == 24:
            command, first, second, count, _, _ = struct.unpack("<4s5I", head)
            yield command, first, second, file.read(count)

    def serve(self, *, deny: bool) -> None:
        for command, first, second, data in self.receive():
            if command in (b"CNXN", b"AUTH") and deny:
                self.send(b"AUTH", 1, 0, os.urandom(20))
            elif command == b"CNXN":
                self.most = min(second, MOST)
                self.send(b"CNXN", VERSION, MOST, BANNER)
            elif command == b"OPEN":
                stream = Stream(self, len(self.streams) + 1, first)
                self.streams[stream.number] = stream
                self.send(b"OKAY", stream.number, first)
                threading.Thread(
                    target=self.service, args=(stream, data.rstrip(b"\0").decode()), daemon=True
                ).start()
            elif second in self.streams:
                self.on_stream(command, self.streams[second], data)

    def on_stream(self, command: bytes, stream: Stream, data: bytes) -> None:
        if command == b"OKAY":
            stream.granted.release()
        elif command == b"WRTE":
            stream.inbox.put(data)
            self.send(b"OKAY", stream.number, stream.remote)
        elif command == b"CLSE":
            stream.inbox.put(None)

    def service(self, stream: Stream, name: str) -> None:
        kind, _, argument = name.partition(":")
        try:
            if kind.startswith("shell"):
                self.shell(stream, self.root, argument)
            elif kind == "sync":
                sync(stream, self.root)
        except (EOFError, OSError):
            pass
        self.send(b"CLSE", stream.number, stream.remote)


def arm64_shell(stream: Stream, root: Path, command: str) -> None:
    """Run a command by ROOT's own shell."""
    environment = {k: v for k, v in os.environ.items() if k.startswith("QEMU_")}
    program = ["chroot", str(root), "/system/bin/sh", "-c", command]
    run(stream, program, environment | {"HOME": "/", "PATH": "/system/bin:/usr/sbin:/usr/bin"}, chunks)


def plain_shell(stream: Stream, root: Path, command: str) -> None:
    """Run a command by the machine's shell: ROOT is before every path of the phone, and not in the answer."""
    program = ["/bin/sh", "-c", PATHS.sub(f"{root}/", command)]
    path = f"{root}/system/bin:/usr/bin:/bin"

    def without_root(pipe: BinaryIO) -> Iterator[bytes]:
        yield pipe.read().replace(str(root).encode(), b"")

    run(stream, program, {"HOME": "/", "PATH": path}, without_root)


SHELLS: dict[str, Shell] = {"namespace": arm64_shell, "plain": plain_shell}


def run(
    stream: Stream,
    program: list[str],
    environment: dict[str, str],
    read: Callable[[BinaryIO], Iterator[bytes]],
) -> None:
    """Run a program to its end, whether the client is still there or not."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    job = subprocess.Popen(program, env=environment, **pipes)
    pumps = [
        threading.Thread(target=pump, args=(stream, number, read(pipe)))
        for number, pipe in ((1, job.stdout), (2, job.stderr))
    ]
    for thread in pumps:
        thread.start()
    for thread in pumps:
        thread.join()
    code = job.wait()
    # As Android's daemon reports a program that a signal ended.
    stream.send(struct.pack("<BIB", 3, 1, code if code >= 0 else 128 - code))


def chunks(pipe: BinaryIO) -> Iterator[bytes]:
    while data := os.read(pipe.fileno(), 32768):
        yield data


def pump(stream: Stream, number: int, output: Iterator[bytes]) -> None:
    for data in output:
        for start in range(0, len(data), 32768):
            part = data[start : start + 32768]
            stream.send(struct.pack("<BI", number, len(part)) + part)


def sync(stream: Stream, root: Path) -> None:
    while True:
        command, count = struct.unpack("<4sI", stream.read(8))
        if command == b"QUIT":
            return
        name = stream.read(count).decode()
        if command == b"STAT":
            stream.send(b"STAT" + struct.pack("<3I", *status(inside(root, name))))
        elif command == b"SEND":
            receive_file(stream, inside(root, name.rpartition(",")[0]))
        elif command == b"RECV":
            send_file(stream, inside(root, name))


def inside(root: Path, name: str) -> Path:
    path = Path(os.path.normpath(f"{root}/{name}"))
    if not path.is_relative_to(root):
        raise OSError(f"{name} leaves the device")
    return path


def status(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mode, found.st_size, int(found.st_mtime)


def receive_file(stream: Stream, path: Path) -> None:
    problem, file = "", None
    try:
        file = path.open("wb", buffering=0)
    except OSError as error:
        problem = f"couldn't create file: {error.strerror}"
    while True:
        command, count = struct.unpack("<4sI", stream.read(8))
        if command == b"DONE":
            break
        data = stream.read(count)
        try:
            if file and not problem and file.write(data) != len(data):
                problem = "write failed: No space left on device"
        except OSError as error:
            problem = f"write failed: {error.strerror}"
    if file:
        file.close()
    stream.send(b"FAIL" + struct.pack("<I", len(problem)) + problem.encode() if problem else b"OKAY\0\0\0\0")


def send_file(stream: Stream, path: Path) -> None:
    if not stat.S_ISREG(status(path)[0]):
        problem = b"open failed: No such file or directory"
        stream.send(b"FAIL" + struct.pack("<I", len(problem)) + problem)
        return
    with path.open("rb") as file:
        while data := file.read(64 * 1024):
            stream.send(b"DATA" + struct.pack("<I", len(data)) + data)
    stream.send(b"DONE\0\0\0\0")


def mount(root: Path, storage: str) -> None:
    """Set the namespace up: ARM64 programs, /proc, /dev/null and the storage, a tmpfs with options."""
    (root / "binfmt").mkdir(exist_ok=True)
    run = ["mount", "-t"]
    subprocess.run([*run, "binfmt_misc", "binfmt_misc", root / "binfmt"], check=True)
    (root / "binfmt/register").write_text(ARM64)
    subprocess.run([*run, "proc", "proc", root / "proc"], check=True)
    (root / "dev/null").touch()
    subprocess.run(["mount", "--bind", "/dev/null", root / "dev/null"], check=True)
    if storage:
        subprocess.run([*run, "tmpfs", "-o", storage, "tmpfs", root / "data/local/tmp"], check=True)


def main() -> None:
    root, port, auth, storage, shell = sys.argv[1:]
    place = Path(root).resolve()
    if shell == "namespace":
        mount(place, storage)
    listener = socket.create_server(("127.0.0.1", int(port)))
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - how the port is told
    while True:
        connection, _ = listener.accept()
        # As Android's daemon does; small answers would wait 40 ms for an acknowledgement otherwise.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(place, SHELLS[shell], connection)
        threading.Thread(target=link.serve, kwargs={"deny": auth == "deny"}, daemon=True).start()


if __name__ == "__main__":
    main()
