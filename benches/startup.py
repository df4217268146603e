"""How long `tenon up` takes until /health answers, and the memory that it then holds.

    python benches/startup.py [--tenon PATH] [--data DIR] [--rounds 10]

Every round starts a process of its own. Without --data on a folder that is new in the first round.
Prints one line of JSON: milliseconds from the start of the process (median and worst), MiB resident.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmRSS")


def healthy(process):
    """Reads the address that the server prints, then asks."""
    address = json.loads(process.stdout.readline())["url"]
    with urllib.request.urlopen(address + "/health", timeout=5) as answer:
        assert answer.status == 200
        answer.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "tenon" / "target")
    parser.add_argument("--tenon", default=target / "release" / "tenon")
    parser.add_argument("--data")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as fresh:
        command = [args.tenon, "up", "--data", args.data or fresh, "--address", "127.0.0.1:0", "--json"]
        times, memory = [], []
        for _ in range(args.rounds):
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            try:
                healthy(process)
                times.append((time.perf_counter() - start) * 1e3)
                time.sleep(1)
                memory.append(resident(process.pid))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)
    print(
        json.dumps(
            {
                "bench": "tenon up",
                "rounds": args.rounds,
                "health_ms": round(statistics.median(times), 1),
                "health_ms_worst": round(max(times), 1),
                "idle_mib": round(max(memory), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
