"""Starts the training process of a run on several devices once for each of them:
`python -m tunedeck_trainer.launcher <processes> <run folder> <descriptor>`.

torch's launcher of `torchrun` does it: it ends all when one has ended badly. All of them end with this
process.
"""

import contextlib
import logging
import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def main() -> int:
    """Launch and wait; a process that was killed kills this one by the same signal, so that its parent
    judges it as it would judge a single one."""
    processes, folder, descriptor = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    # What went wrong is told by the processes themselves.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # They are all on this host, whatever its name leads to.
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="run",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        # Each sees its own GPU alone.
        virtual_local_rank=bool(os.environ.get("CUDA_VISIBLE_DEVICES")),
        shutdown_timeout=5,
    )
    child = elastic_launch(config, sys.executable)
    try:
        child("-m", "tunedeck_trainer.child", folder, f"/proc/{os.getpid()}/fd/{descriptor}")
    except ChildFailedError as error:
        statuses = [one.exitcode for one in error.failures.values()]
        if killed := next((-status for status in statuses if status < 0), None):
            with contextlib.suppress(OSError):
                # Some of them torch's launcher catches; nobody can catch SIGKILL.
                signal.signal(killed, signal.SIG_DFL)
            os.kill(os.getpid(), killed)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
