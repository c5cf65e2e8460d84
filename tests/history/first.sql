-- The first released schema with one conversation in it. Never changed: every later schema must be reached from here.
PRAGMA application_id = 1162102597;
CREATE TABLE conversation (
        id       TEXT PRIMARY KEY NOT NULL,
        owner    TEXT NOT NULL,
        title    TEXT NOT NULL,
        titled   TEXT NOT NULL CHECK (titled IN ('text', 'model', 'user')),
        pinned   INTEGER NOT NULL DEFAULT 0,
        version  INTEGER NOT NULL DEFAULT 1,
        touched  INTEGER NOT NULL,
        created  INTEGER NOT NULL,
        updated  INTEGER NOT NULL,
        deleted  INTEGER
    );
CREATE TABLE message (
        key              INTEGER PRIMARY KEY,
        id               TEXT NOT NULL UNIQUE,
        conversation_id  TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
        seq              INTEGER NOT NULL,
        parent_id        TEXT REFERENCES message (id) DEFERRABLE INITIALLY DEFERRED,
        role             TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
        content          TEXT NOT NULL,
        status           TEXT NOT NULL
                         CHECK (status IN ('running', 'complete', 'stopped', 'interrupted', 'error')),
        created          INTEGER NOT NULL,
        reasoning        TEXT NOT NULL DEFAULT '',
        model            TEXT,
        finish_reason    TEXT,
        usage            TEXT,
        params           TEXT,
        error            TEXT,
        UNIQUE (conversation_id, seq)
    );
CREATE TABLE run (
        id               TEXT PRIMARY KEY NOT NULL,
        owner            TEXT NOT NULL,
        conversation_id  TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
        message_id       TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
        answer_id        TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
        lease            TEXT NOT NULL,
        key              TEXT,
        digest           TEXT
    );
CREATE TABLE document (
        owner    TEXT NOT NULL,
        name     TEXT NOT NULL,
        version  INTEGER NOT NULL,
        body     TEXT NOT NULL,
        PRIMARY KEY (owner, name)
    );
CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = 'unicode61 remove_diacritics 2');
CREATE INDEX conversation_list ON conversation (owner, pinned, touched);
CREATE INDEX message_parent ON message (parent_id);
CREATE INDEX message_running ON message (status) WHERE status = 'running';
CREATE UNIQUE INDEX run_key ON run (owner, key) WHERE key IS NOT NULL;
CREATE INDEX run_answer ON run (answer_id);
CREATE INDEX run_message ON run (message_id);
CREATE INDEX run_conversation ON run (conversation_id);
INSERT INTO conversation VALUES ('c-533e4728137aca2b','','排序','text',0,2,3,1795387854088,1795387854114,NULL);
INSERT INTO message VALUES (1,'m-0fb6b86f9932e1a7','c-533e4728137aca2b',1,NULL,'user','排序','complete',1795387854090,'',NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (2,'m-7726e0d1c3598a45','c-533e4728137aca2b',2,'m-0fb6b86f9932e1a7','assistant','快速排序','complete',1795387854090,'',NULL,'stop',NULL,NULL,NULL);
INSERT INTO run VALUES ('r-6c2cdf73ccef76e9','','c-533e4728137aca2b','m-0fb6b86f9932e1a7','m-7726e0d1c3598a45','lease-36f8a86f9bc3c98d',NULL,NULL);
INSERT INTO words (rowid, body) VALUES (-1, ' 排  序 ');
INSERT INTO words (rowid, body) VALUES (1, ' 排  序 ');
INSERT INTO words (rowid, body) VALUES (2, ' 快  速  排  序 ');
PRAGMA user_version = 1;
