"""What limits an installation, and which setting would help: from figures to words. No I/O."""

from __future__ import annotations

from typing import Final

from gatepost.app.benchmark.measured import Dns, Finding, Measured

BUSY: Final = 0.8  # of a core: a worker that works so much has no time left
SLOW_SYNC_MS: Final = 5.0  # an SSD takes a tenth of it
VERY_SLOW_SYNC_MS: Final = 20.0
SLOW_DNS_MS: Final = 100.0
SPARE_FILES: Final = 1000  # beside one for each connection: databases, content, next hops


def verdict(found: Measured) -> list[Finding]:
    """What limits the rate of messages, first; then whatever else will be felt."""
    return [_limit(found), *_disk(found), *_files(found), *_dns(found.dns)]


def _limit(found: Measured) -> Finding:
    accept, disk = found.accept, found.disk
    if accept.failed:
        return Finding(
            f"{accept.failed} of {accept.failed + accept.messages} messages were not taken: {accept.first_failure}",
            "mend this first; the rate says little",
            "errors",
        )
    used = accept.busy * found.workers + accept.load_cores
    if accept.busy >= BUSY or used >= BUSY * found.cores:
        if found.workers < found.cores:
            advice = f"set `workers = {found.cores}`, or leave it out: every core can have one"
        else:
            advice = "more or faster cores would help; no setting does, but checks that you do not need can be off"
        return Finding(
            f"the CPU: its {found.workers} workers are busy for {accept.busy:.0%} of the time", advice, "cpu"
        )
    if disk.append_ms >= SLOW_SYNC_MS:
        return Finding(
            f"the disk: making 4 KiB durable takes {disk.append_ms:.1f} ms, and every 250 waits for one such write",
            "put `data` on a faster disk (an SSD of the data-centre kind keeps its promise at once); until then many "
            "sessions share one write, so the rate grows with their number",
            "disk",
        )
    return Finding(
        f"neither the CPU ({accept.busy:.0%} busy) nor the disk ({disk.append_ms:.2f} ms a write): this load asks no "
        "more of them",
        "try `--sessions` with a larger number, and run the load while the machine does nothing else",
        "client",
    )


def _disk(found: Measured) -> list[Finding]:
    if found.disk.append_ms < VERY_SLOW_SYNC_MS and found.disk.file_ms < VERY_SLOW_SYNC_MS * 3:
        return []
    return [
        Finding(
            f"delivery into mailboxes: a message that is filed takes {found.disk.file_ms:.0f} ms of the disk",
            "the queue will grow in busy hours; put `data` on a faster disk",
        )
    ]


def _files(found: Measured) -> list[Finding]:
    wanted = found.connections + SPARE_FILES
    if found.files >= wanted:
        return []
    return [
        Finding(
            f"open files: {found.files} are allowed, {found.connections} connections in all need {wanted}",
            f"raise `LimitNOFILE` of the systemd unit to {wanted}, or lower `limits.connections.total` to "
            f"{max(1, found.files - SPARE_FILES)}",
        )
    ]


def _dns(resolvers: tuple[Dns, ...]) -> list[Finding]:
    findings = []
    for one in resolvers:
        if one.failed:
            findings.append(
                Finding(
                    f"the resolver {one.resolver}: {one.failed} of {one.asked} look-ups had no answer",
                    "take it out of `dns.resolvers`, or mend it: mail waits for every answer",
                )
            )
        elif one.median_ms >= SLOW_DNS_MS:
            findings.append(
                Finding(
                    f"the resolver {one.resolver}: a new name takes {one.median_ms:.0f} ms, and mail of strangers "
                    "needs several",
                    "run a resolver on this machine (unbound, say) and name it in `dns.resolvers`",
                )
            )
    return findings
