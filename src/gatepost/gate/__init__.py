"""What every session shares: gather facts, decide, record, log somebody in; how to decide lives in `policy`."""
