"""Haraka, one process, with a plug-in that makes each message durable: a file, fsync, rename.

It is used where `haraka` is on the PATH (it comes by npm).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

from bench.servers.server import FOREIGN, HOST, ProgramServer, Purpose, find_program

_PLUGIN = """\
'use strict';
const fs = require('node:fs');
const folder = FOLDER, foreign = FOREIGN;
let number = 0;

exports.hook_rcpt = (next, connection, parameters) => {
    const path = parameters[0];  // its address is a method in older versions
    const address = typeof path.address === 'function' ? path.address() : path.address;
    if (address.toLowerCase() === foreign) return next(DENY, 'Relaying denied');
    next(OK);
};

exports.hook_queue = (next, connection) => {
    const name = `${folder}/${process.pid}-${number++}`;
    const file = fs.createWriteStream(`${name}.part`, { autoClose: false });
    file.on('error', (error) => next(DENYSOFT, error.message));
    file.on('finish', () => fs.fsync(file.fd, (error) => {
        fs.closeSync(file.fd);
        if (error) return next(DENYSOFT, error.message);
        fs.rename(`${name}.part`, name, (failed) => (failed ? next(DENYSOFT, failed.message) : next(OK, 'Kept')));
    }));
    connection.transaction.message_stream.pipe(file);
};
"""


class Haraka(ProgramServer):
    """One process, as it comes."""

    name: ClassVar[str] = "haraka"
    about: ClassVar[str] = "one process; a plug-in that writes a file, fsync, rename"
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold"})

    @classmethod
    def version(cls) -> str | None:
        program = find_program("haraka")
        if program is None:
            return None
        package = Path(program).resolve().parent.parent / "package.json"
        try:
            return str(json.loads(package.read_text())["version"])
        except (OSError, ValueError, KeyError):
            return None

    def start(self) -> None:
        program = find_program("haraka")
        assert program is not None
        home = self.place.folder / "haraka"
        shutil.copytree(Path(program).resolve().parent.parent / "config", home / "config")  # it has no defaults without
        kept = self.place.folder / "kept"
        files = {
            "config/smtp.ini": f"listen={HOST}:{self.port}\nnodes=0\n",
            "config/me": "mx.example.org\n",
            "config/loglevel": "LOGCRIT\n",
            "config/plugins": "durable\n",
            "plugins/durable.js": _PLUGIN.replace("FOLDER", json.dumps(str(kept)), 1)
            .replace("FOREIGN", json.dumps(FOREIGN), 1),
        }  # fmt: skip
        kept.mkdir()
        for name, text in files.items():
            file = home / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.run([program, "-c", str(home)])
