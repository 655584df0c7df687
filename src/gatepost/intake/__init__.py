"""Take a message in: SMTP session driver, trace headers, spooling; the order of a session lives in `protocol`."""
