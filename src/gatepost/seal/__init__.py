"""OpenPGP and S/MIME: encrypt, sign, open, find keys over ports; when sealing is required is said by `policy`."""
