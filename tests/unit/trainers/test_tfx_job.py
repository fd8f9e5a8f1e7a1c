"""The file in which code goes to the workers of a TFX training."""

from __future__ import annotations

import hashlib

import pytest

from engine import ConfigError
from trainers.tfx.workers import work


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o622, 0o700), (0o602, 0o700), (0o600, 0o777), (0o600, 0o770)])
def test_work_file_that_others_may_write_is_not_loaded(tmp_path, file_mode, folder_mode):
    import cloudpickle

    folder = tmp_path / "shared"
    folder.mkdir()
    job, loaded = folder / "workers.job", tmp_path / "loaded"
    packed = cloudpickle.dumps((_Touch(str(loaded)), {}))
    job.write_bytes(packed)
    job.chmod(file_mode)
    folder.chmod(folder_mode)
    with pytest.raises(ConfigError, match="code is only taken from a file that no other user"):
        work(str(job), hashlib.sha256(packed).hexdigest())
    assert not loaded.exists()


def test_work_file_that_holds_something_else_is_not_loaded(tmp_path):
    import cloudpickle

    job, loaded = tmp_path / "workers.job", tmp_path / "loaded"
    written, planted = cloudpickle.dumps(({}, {})), cloudpickle.dumps((_Touch(str(loaded)), {}))
    tmp_path.chmod(0o700)
    job.write_bytes(planted)
    job.chmod(0o600)
    with pytest.raises(ConfigError, match="is not the file that the trainer wrote"):
        work(str(job), hashlib.sha256(written).hexdigest())
    assert not loaded.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")
