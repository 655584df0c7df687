"""Side by side: how fast Gatepost is beside the servers people run today. `python -m bench --help` says how.

A package of the repository, not of the installed program.
"""
