"""A key that is published by command is in the key directory of a running server, and leaves it again."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

from tests.end_to_end.running import CONFIG, gatepost, running
from tests.seal import scene

from gatepost.seal.key_names import wkd_hash

ADA = "ada@example.org"
WEB = '[[listen]]\naddress = "127.0.0.1:0"\nservice = "web"\n'


def asked(port: int, path: str, host: str) -> tuple[int, bytes]:
    """What the server answers; its certificate is one of its own, which nobody vouches for."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    try:
        client.request("GET", path, headers={"Host": host})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def test_a_published_key_is_served_at_once_and_taken_back_at_once(tmp_path: Path) -> None:
    key = scene.pgp(ADA).key
    (tmp_path / "ada.pgp").write_bytes(key.material)
    path = f"/.well-known/openpgpkey/example.org/hu/{wkd_hash('ada')}?l=ada"
    with running(tmp_path, config=CONFIG + WEB) as server:
        port = server.port("web")
        assert asked(port, path, "openpgpkey.example.org")[0] == 404
        done = gatepost(tmp_path, "key", "publish", ADA, str(tmp_path / "ada.pgp"))
        assert (done.returncode, done.stderr) == (0, "")
        assert asked(port, path, "openpgpkey.example.org") == (200, key.material)
        assert asked(port, "/metrics", "openpgpkey.example.org")[0] == 404
        with socket.create_connection(("127.0.0.1", port), timeout=20) as clear:
            clear.sendall(f"GET {path} HTTP/1.1\r\nHost: openpgpkey.example.org\r\n\r\n".encode())
            assert key.material not in clear.recv(4096)  # no answer without TLS
        assert gatepost(tmp_path, "key", "unpublish", ADA).returncode == 0
        assert asked(port, path, "openpgpkey.example.org")[0] == 404
        assert server.stop() == 0
