"""SPF, DKIM, DMARC, ARC, MTA-STS and TLSA evaluators over the resolver port; their results are values of `mail`."""
