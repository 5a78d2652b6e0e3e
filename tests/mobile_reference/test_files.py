"""What is read of files that may be anything: regular ones, of a size that is stated."""

import os
from pathlib import Path

import pytest

from mien.mobile_reference.files import check_size


def test_a_file_and_a_link_to_one_may_be_read(tmp_path: Path):
    (tmp_path / "file").write_bytes(bytes(10))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    check_size(tmp_path / "file", 10)
    check_size(tmp_path / "link", 10)
    with pytest.raises(ValueError, match="is larger than 9 bytes"):
        check_size(tmp_path / "file", 9)


def test_what_would_block_or_never_end_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="it is not a file"):
            check_size(path, 10)
