"""Values of mail: address, path, envelope, reply, header fields, MIME walk, DSN text; nothing that acts."""
