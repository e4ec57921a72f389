"""Where the products of a large H are computed: a cluster of this machine, or one whose address is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from deploy.errors import DeployError

LOCAL: Final = "local"
_PATIENCE: Final = "30s"


@contextmanager
def cluster(scheduler: str | None, workers: int) -> Iterator[str | None]:
    """Let everything within the block that is Dask's be computed there; yields the dashboard's address.

    Parameters
    ----------
    scheduler : str, optional
        "local", or the address of a scheduler whose workers see the same files; None: threads of this process, and
        there is no dashboard.
    workers : int
        Processes of a local cluster, one thread each.

    Raises
    ------
    DeployError
        Where nobody answers at the address.
    """
    if scheduler is None:
        yield None
        return
    from dask import distributed  # noqa: PLC0415  slow to import, and not needed without a cluster

    if scheduler == LOCAL:
        with (
            distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as own,
            distributed.Client(own) as client,
        ):
            yield client.dashboard_link
        return
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        msg = f"--scheduler {scheduler}: nobody answers there ({error}); expected 'local' or tcp://host:8786"
        raise DeployError(msg) from error
    with client:
        yield client.dashboard_link
