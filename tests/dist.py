"""Make what a release is made of, under dist: wheel, source archive, SBOM and checksums.

What is built is the last commit, with its time for every file, so that the same commit gives the same bytes.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
UV, UVX = (str(Path(sys.executable).parent / name) for name in ("uv", "uvx"))
TWINE = (UVX, "--quiet", "twine@7.0.0")
CYCLONEDX = (UVX, "--quiet", "--from", "cyclonedx-bom==7.5.0", "cyclonedx-py")


def main() -> None:
    """Build, check and list; a commit that would leave out changes is refused."""
    if _output("git", "status", "--porcelain", "--untracked-files=no"):
        sys.exit("files that git tracks were changed; commit them first, the release is made of a commit")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _output("git", "log", "-1", "--format=%ct"))
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel, archive = build(Path(folder), epoch)
        DIST.mkdir()
        made = [Path(shutil.copy(file, DIST)) for file in (wheel, archive)]
        _run(*TWINE, "check", "--strict", *map(str, made))
        made.append(bill_of_materials(Path(folder), wheel, epoch))
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in made]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    sys.stdout.write("".join(sums))


def build(folder: Path, epoch: int) -> tuple[Path, Path]:
    """Build wheel and source archive of the last commit into ``folder``."""
    tree = folder / "tree"
    with tarfile.open(fileobj=BytesIO(_bytes("git", "archive", "HEAD"))) as commit:
        commit.extractall(tree, filter="data")
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    command = [UV, "build", "--quiet", "--python", sys.executable, "--out-dir", str(folder), str(tree)]
    subprocess.run(command, check=True, env=environment)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    archive.write_bytes(normalised(archive.read_bytes(), epoch))
    return wheel, archive


def normalised(archive: bytes, epoch: int) -> bytes:
    """Return a .tar.gz with its members in the order of their names, of one time, and of nobody.

    setuptools gives the files that it makes the time at which it made them, and every file its owner.
    """
    stream = BytesIO()
    with (
        tarfile.open(fileobj=BytesIO(archive)) as old,
        gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6, filename="", mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return stream.getvalue()


def bill_of_materials(folder: Path, wheel: Path, epoch: int) -> Path:
    """List what the light install consists of, as CycloneDX: every package with version and licence."""
    place, python = DIST / "sbom.cdx.json", folder / "env" / "bin" / "python"
    _run(UV, "venv", "--quiet", "--python", sys.executable, str(folder / "env"))
    lock = str(ROOT / "requirements.lock")
    _run(UV, "pip", "install", "--quiet", "--python", str(python), "-c", lock, str(wheel))
    options = ("--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml"), "-o", str(place))
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run([*CYCLONEDX, "environment", *options, str(python)], check=True, env=environment)
    return place


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


def _bytes(*command: str) -> bytes:
    return subprocess.run(command, check=True, cwd=ROOT, capture_output=True).stdout


def _output(*command: str) -> str:
    return _bytes(*command).decode().strip()


if __name__ == "__main__":
    main()
