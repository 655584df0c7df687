"""Facts, verdicts, rules, engine and explanation: pure; facts are gathered by `gate`."""
