"""The servers that the bench knows, in the order in which they take turns."""

from __future__ import annotations

from typing import Final

from bench.servers.aiosmtpd_server import Aiosmtpd
from bench.servers.exim import Exim
from bench.servers.gatepost_server import Gatepost, GatepostBare, GatepostGrown
from bench.servers.haraka import Haraka
from bench.servers.postfix import Postfix
from bench.servers.server import Server

SERVERS: Final[tuple[type[Server], ...]] = (Gatepost, Postfix, GatepostBare, GatepostGrown, Aiosmtpd, Exim, Haraka)
