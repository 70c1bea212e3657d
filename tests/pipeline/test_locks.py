"""Locks that several accounts and machines share."""

import os
import tempfile
from pathlib import Path

import pytest

from pipeline.locks import is_locked, open_lock, take_lock


def test_a_lock_is_taken_and_asked_after_by_accounts_that_may_not_write_it(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    before = os.umask(0o077)
    try:
        with open_lock(path) as first:
            assert not is_locked(path)
            assert take_lock(first)
            assert is_locked(path)
            with open_lock(path) as second:
                assert not take_lock(second)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert not is_locked(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="ONE ACCOUNT ONLY: another account's lock can be seen by root alone")
def test_a_lock_that_another_account_left_in_a_shared_folder_can_be_taken():
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        folder = Path(shared)
        folder.chmod(0o1777)
        with open_lock(folder / "lock"):
            pass
        os.seteuid(65534)
        try:
            with open_lock(folder / "lock") as handle:
                assert take_lock(handle)
                assert is_locked(folder / "lock")
        finally:
            os.seteuid(0)
