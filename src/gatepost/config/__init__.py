"""The configuration file: read, check, freeze; what a setting means lives with the part that declares it."""
