"""The sampler's own tests, run where NumPyro is: `tests/inversion/test_sample.py` does so, in .venv-sample.

By hand: .ci/sample && .venv-sample/bin/python -m pytest --confcutdir=tests/inversion/sampled tests/inversion/sampled
(the fixtures above this folder need servers, which that environment does not have).
"""

import importlib.util
from pathlib import Path

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("numpyro") else ["test_*.py"]


@pytest.fixture(scope="session")
def shared():
    """Folder of the shared design and data beside the repository."""
    folder = Path(__file__).parents[4] / "shared"
    if not folder.is_dir():
        pytest.skip(f"the shared data are absent: no folder {folder}")
    return folder
