"""Ray on this machine alone, for as long as somebody holds this process's standard input. Run as a program.

    python -P ray_keeper.py CPUS OBJECT_STORE_BYTES

prints the cluster's address and ends everything when its standard input does. It lies between the search and Ray since
Ray's own processes are in the session of whoever starts them, where a SIGTERM to the process group ends them while the
search still saves, and since some of them outlive a starter that was killed by a minute.

It imports nothing of nas: it needs none of it, and must be there at once.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile

# Ray's sockets lie this deep below its folder, and a path of a socket may have 107 bytes.
_LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")


def _keep(num_cpus: int, object_store_bytes: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    folder = tempfile.mkdtemp(prefix="nas-ray-")
    if len(folder) > _LONGEST_FOLDER:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="nas-ray-", dir="/tmp")
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=folder,
        )
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which Ray has taken
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it once more
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _keep(int(sys.argv[1]), int(sys.argv[2]))
