"""The Cryptographic Message Syntax (RFC 5652) as far as S/MIME 4 needs it; primitives are those of `cryptography`."""
