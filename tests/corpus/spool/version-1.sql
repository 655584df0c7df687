-- A spool that schema version 1 wrote, with one entry.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE content (number INTEGER PRIMARY KEY, prefix BLOB NOT NULL, octets BLOB NOT NULL);
INSERT INTO "content" VALUES(1,X'52656365697665643A2066726F6D20636C69656E742E6578616D706C652E6E6574206279206D782E6578616D706C652E6F72673B204D6F6E2C203234204E6F7620323032352031363A30303A3030202B303030300D0A',X'46726F6D3A20626F62406578616D706C652E6E65740D0A0D0A48656C6C6F2E0D0A');
CREATE TABLE damaged (
        id TEXT NOT NULL,
        reason TEXT NOT NULL,
        set_aside_at REAL NOT NULL,
        received_at REAL,
        octets INTEGER,
        head BLOB,
        recipients BLOB NOT NULL,    -- their rows, as msgpack
        prefix BLOB,
        content BLOB                 -- NULL where it is damaged/ID
    );
CREATE TABLE entry (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        octets INTEGER NOT NULL,     -- prefix and content
        crc INTEGER NOT NULL,        -- CRC-32 of the content, continued over the prefix
        in_file INTEGER NOT NULL,    -- 1: the content is content/ID, the row of `content` has the prefix only
        head BLOB NOT NULL
    );
INSERT INTO "entry" VALUES(1,'01KAV9FT000000000000000001',1764000000.0,119,3145363038,0,X'9BA3626F62AB6578616D706C652E6E6574A437424954C2C0A0A0A0A0C2C2');
CREATE TABLE recipient (
        entry INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        destination TEXT NOT NULL,
        due REAL NOT NULL,
        attempts INTEGER NOT NULL,
        delay_told INTEGER NOT NULL,
        wish TEXT NOT NULL,          -- an action that waits for the end of the attempt
        reply TEXT NOT NULL,
        remote TEXT NOT NULL,
        head BLOB NOT NULL,
        PRIMARY KEY (entry, number)
    ) WITHOUT ROWID;
INSERT INTO "recipient" VALUES(1,0,0,'example.org',1764000000.0,0,0,'','','',X'94A3616461AB6578616D706C652E6F726790A0');
CREATE INDEX recipient_due ON recipient (destination, due) WHERE state < 2;
CREATE INDEX recipient_leased ON recipient (entry) WHERE state = 2;
CREATE INDEX recipient_held ON recipient (entry) WHERE state = 3;
COMMIT;
