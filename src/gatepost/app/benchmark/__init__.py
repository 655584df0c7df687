"""`gatepost bench`: what this installation can do, measured on it; what limits it is said in `verdict`."""
