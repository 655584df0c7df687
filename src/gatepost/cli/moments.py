"""Times as commands show and take them."""

from __future__ import annotations


def shown_time(unix: float) -> str:
    """ "2026-11-24T10:00:00Z": UTC, as the record has it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(text: str, option: str) -> float:
    """Seconds since 1970 of "2026-11-24", "2026-11-24T10:00" (UTC unless it says otherwise), or "2h" ago.

    Raises CommandError, which names `option`.
    """
    import time
    from datetime import UTC, datetime

    from gatepost.cli.errors import USAGE, CommandError
    from gatepost.mail.units import parse_duration

    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f'{option}: {text!r} is no time; write "2026-11-24", "2026-11-24T10:00", or how long ago, as in "2h"', USAGE
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
