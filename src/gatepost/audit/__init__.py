"""Events, chain, signing, search and detectors: the one record; nobody's rules."""
