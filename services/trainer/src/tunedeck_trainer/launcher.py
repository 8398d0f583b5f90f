"""Starts the training process of a run on several devices once for each of them:
`python -m tunedeck_trainer.launcher <processes> <run folder> <descriptor>`.

torch's launcher of `torchrun` does it: it ends all when one has ended badly. All of them end with this
process. They meet by files in the run's folder: a store of torch's over TCP would listen on every interface,
and what anyone puts there is unpickled.
"""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tunedeck_trainer.pipe import MEETING_FILE


def main() -> int:
    """Launch and wait; a process that was killed kills this one by the same signal, so that its parent
    judges it as it would judge a single one."""
    processes, folder, descriptor = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    meeting, rendezvous = Path(folder) / "meeting", Path(folder) / "rendezvous"
    for left in (meeting, rendezvous):
        # Of an earlier start in this folder: torch marks its rendezvous as closed at its end.
        left.unlink(missing_ok=True)
    # What went wrong is told by the processes themselves.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # They are all on this host, whatever its name leads to.
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    # torch's launcher itself would open a store over TCP for them.
    os.environ |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", MEETING_FILE: str(meeting)}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="run",
        rdzv_backend="c10d",
        rdzv_endpoint=str(rendezvous),
        rdzv_configs={"store_type": "file"},
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
