"""The file in which code goes to the workers of a TFX training."""

from __future__ import annotations

import pytest

from engine import ConfigError
from trainers.tfx.workers import work


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o622, 0o700), (0o602, 0o700), (0o600, 0o777), (0o600, 0o770)])
def test_work_file_that_others_may_write_is_not_loaded(tmp_path, file_mode, folder_mode):
    import cloudpickle

    folder = tmp_path / "shared"
    folder.mkdir()
    job, loaded = folder / "workers.job", tmp_path / "loaded"
    job.write_bytes(cloudpickle.dumps((_Touch(str(loaded)), {})))
    job.chmod(file_mode)
    folder.chmod(folder_mode)
    with pytest.raises(ConfigError, match="code is only taken from a file that no other user"):
        work(str(job))
    assert not loaded.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")
