"""One small module per check, each a pure function from facts to a verdict; looking up is not done here."""
