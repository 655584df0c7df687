"""`account seal`: which keys are taken, and what is kept and recorded of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.cli.test_accounts import GOOD, acts, kept
from tests.seal.scene import Person, pgp, pgp_key, smime

ADA = "ada@example.org"


@pytest.mark.parametrize("person", [pgp(ADA), smime(ADA)], ids=lambda person: person.key.kind)
def test_a_key_is_kept_shown_recorded_and_taken_off(gatepost: Command, folder: Path, person: Person) -> None:
    gatepost("account", "add", ADA, "--password-stdin", stdin=GOOD)
    (folder / "ada.key").write_bytes(person.key.material)
    ran = gatepost("account", "seal", ADA, "ada.key")
    assert ran.code == 0, ran.err
    assert ran.out == f"The mail of {ADA} is encrypted to {person.key.fingerprint}.\n"
    assert kept(folder, ADA).seal.material == person.key.material
    assert gatepost("account", "show", ADA, "--json").json["seal"]["fingerprint"] == person.key.fingerprint
    gatepost("account", "set", ADA, "--quota", "1GB")
    assert kept(folder, ADA).seal is not None
    assert gatepost("account", "seal", ADA, "--off").code == 0
    assert kept(folder, ADA).seal is None
    told = [act["key"] for act in acts(folder) if act["act"] == "account seal"]
    assert told == [person.key.fingerprint, "none"]


def test_a_key_that_cannot_be_used_changes_nothing_and_is_told_why(gatepost: Command, folder: Path) -> None:
    gatepost("account", "add", ADA, "--password-stdin", stdin=GOOD)
    (folder / "bob.asc").write_bytes(pgp("bob@example.org").key.material)
    (folder / "secret.asc").write_bytes(bytes(pgp_key(ADA)))
    (folder / "empty.asc").write_bytes(b"")
    for file, why in (("bob.asc", "does not carry this address"), ("secret.asc", ""), ("empty.asc", "is empty")):
        ran = gatepost("account", "seal", ADA, file)
        assert ran.code == 1
        assert why in ran.err
    assert kept(folder, ADA).seal is None
    assert gatepost("account", "seal", ADA).code == 2
    assert gatepost("account", "seal", ADA, "bob.asc", "--off").code == 2
    assert gatepost("account", "seal", "nobody@example.org", "bob.asc").code == 1
