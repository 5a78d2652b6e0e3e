"""A real server, real requests: a photograph, and everything that is none."""

import http.client
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mien
from tests.commands import PROGRAMS, run_mien

EVIL = '<script>alert(1)</script>"'


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    command = [PROGRAMS / "mien", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout
    said = server.stdout.readline()
    found = re.search(r"^http://127\.0\.0\.1:(\d+)/", said)
    assert found, said
    yield int(found[1])
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=300)
    assert server.returncode == 130
    assert errors.strip() == "mien: interrupted"


def asked(
    port: int, method: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, "/", body, named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def posted(port: int, content: bytes, name: str = "x.jpg", **headers: str) -> tuple[int, str]:
    head = f'--b\r\nContent-Disposition: form-data; name="photograph"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--b--\r\n"
    status, text, _ = asked(port, "POST", body, Content_Type="multipart/form-data; boundary=b", **headers)
    return status, text


def noted(text: str) -> list[str]:
    return re.findall(r'<p class="note">(.*?)</p>', text, re.DOTALL)


def test_the_page_takes_a_photograph_and_lets_nobody_in(port: int):
    status, text, headers = asked(port, "GET")
    assert status == 200
    assert 'type="file"' in text
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_photograph_is_rated_and_shown(port: int, sample_folder: Path):
    status, text = posted(
        port, (sample_folder / "nobody-02-cleft.jpg").read_bytes(), EVIL.replace('"', "%22")
    )
    assert status == 200
    score = mien.appraise(sample_folder / "nobody-02-cleft.jpg").score
    assert f"{score:.1f} (0..100, 100 is a typical face)" in text
    assert text.count("data:image/jpeg") == 4
    assert "find and align the face" in text
    assert text.count("<script") == 1


def test_what_is_no_photograph_is_one_line_by_the_name_that_was_given(port: int):
    status, text = posted(port, b"not a photograph", "notes.txt")
    assert status == 422
    assert noted(text) == ["notes.txt is not an image; give a JPEG, PNG or WebP file"]


def test_too_much_is_refused_and_the_server_goes_on(port: int):
    status, text = posted(port, bytes(33 << 20))
    assert status == 413
    assert noted(text) == ["the file has more than 32 MiB; give a smaller one"]
    assert asked(port, "GET")[0] == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "text/plain", 415),
        (b"", "multipart/form-data", 415),
        (b"\xff\xfe", "multipart/form-data; boundary=b", 400),
        (b"--b\r\n\r\n\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            400,
        ),
    ],
)
def test_what_is_no_upload_is_one_line(port: int, body: bytes, kind: str, status: int):
    answer, text, _ = asked(port, "POST", body, Content_Type=kind)
    assert answer == status
    assert len(noted(text)) == 1


def test_other_sites_neither_post_nor_come_by_another_name(port: int):
    assert posted(port, b"x", Origin="http://evil.example")[0] == 403
    assert asked(port, "GET", Host="evil.example")[0] == 400
    assert asked(port, "DELETE")[0] == 405


def test_a_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = run_mien("serve", "--port", taken.getsockname()[1], expect=2).stderr
    assert said.count("\n") == 1
    assert "is in use" in said


def test_it_listens_on_this_machine_alone(port: int):
    listed = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    bound = [line.split()[1] for line in listed.splitlines() if f":{port:04X} " in line and " 0A " in line]
    assert bound == [f"0100007F:{port:04X}"]
