"""What the bench ran on, and a certificate for the servers that speak TLS."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.servers.server import find_program


def describe(folder: Path) -> dict[str, str]:
    """The machine by name and value. folder: on the disk that the servers use."""
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "CPU": f"{len(os.sched_getaffinity(0))} cores, {cpu[1] if cpu else platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{_system()}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "file system": _file_system(folder),
        "a sync of 4 KiB": f"{sync_seconds(folder) * 1000:.2f} ms (median of 200)",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return sys.platform


def _file_system(folder: Path) -> str:
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, name, *_ = line.split()
        if str(folder.resolve()).startswith(point) and len(point) >= len(best):
            best, kind = point, name
    return kind


def sync_seconds(folder: Path) -> float:
    """The median time of an append of 4 KiB that is made durable."""
    file = folder / "sync-probe"
    times = []
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(200):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        file.unlink()
    return statistics.median(times)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key): one for all servers, EC P-256. Raises OSError without openssl."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    program = find_program("openssl")
    if program is None:
        raise OSError("openssl is not installed; it makes the certificate: apt-get install openssl")
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=mx.example.org", "-addext", "subjectAltName=DNS:mx.example.org",
         "-keyout", key, "-out", certificate],
        capture_output=True, check=True,
    )  # fmt: skip
    return certificate, key
