"""`python -m flows.server.worker`: `prefect worker start` for our pool, loaded while the server still starts.

Prefect's command fails where no server answers, so it cannot be begun before; and it takes as long to import as the
server. This one is imported, waits for the pool, and then is that command.
"""

from __future__ import annotations

import os
import sys
import time

from flows import settings
from flows.server.prefect_server import START_SECONDS, api_url, is_healthy
from flows.settings import POOL

_POLL_SECONDS = 0.2


def main() -> None:
    """Work for the pool until told to stop; give up when whoever started this ends before the pool is there."""
    settings.apply()
    parent = os.getppid()
    import prefect.cli.worker
    import prefect.workers.process  # noqa: F401  # so that `--type process` is known without looking for plugins
    from prefect.cli import app

    deadline = time.monotonic() + START_SECONDS
    while not _pool_is_there():
        if os.getppid() != parent or time.monotonic() > deadline:
            sys.exit(f"no work pool {POOL!r} at {api_url()}")
        time.sleep(_POLL_SECONDS)
    sys.argv = ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    app()


def _pool_is_there() -> bool:
    if not is_healthy(api_url()):
        return False
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            return False
    return True


if __name__ == "__main__":
    main()
