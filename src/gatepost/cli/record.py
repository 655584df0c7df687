"""Administrative acts go on the record: who did what at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gatepost.cli.session import who

if TYPE_CHECKING:
    from gatepost.audit.event import Recorder
    from gatepost.config.model import Config

FIRST_NUMBER: Final = 900  # of a writer: workers have the low ones, and go on with their own files after a restart


@contextmanager
def recording(config: Config, act: str, **details: Any) -> Iterator[Recorder]:
    """What happens inside is one `admin` event; further events of it go to the recorder that is given. Raises
    RecordError before it happens when nothing can be recorded.

    details: never a password. Those that are None are left out.
    """
    from gatepost.audit.event import Event
    from gatepost.audit.writer import AuditWriter
    from gatepost.net.clock import SystemClock, SystemIds
    from gatepost.store.data_folder import DataFolder

    known = {name: value for name, value in details.items() if value not in (None, (), [])}
    writer = AuditWriter(DataFolder(config.data).audit, config.hostname, FIRST_NUMBER, SystemClock(), SystemIds())
    try:
        yield writer
        writer.record(Event("admin", details={"act": act, "by": who(), **known}))
    finally:
        writer.close()
