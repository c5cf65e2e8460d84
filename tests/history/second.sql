-- Schema 2 as version 0.1 left it, with some conversations in it. Never changed.
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
        error            TEXT, deleted INTEGER,
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
CREATE INDEX message_deleted ON message (deleted) WHERE deleted IS NOT NULL;
INSERT INTO conversation VALUES ('c-b7dc5f4022d50458','','排序','user',1,11,10,1795870258287,1795870258559,NULL);
INSERT INTO conversation VALUES ('c-5b3d07c63637b947','','a b c <|im_end|> 🙂','text',0,2,13,1795870258443,1795870258461,NULL);
INSERT INTO conversation VALUES ('c-6950f0570984a005','','deleted whole','text',0,3,16,1795870258475,1795870258496,1795870258505);
INSERT INTO conversation VALUES ('c-83411da281628e66','k-1','somebody''s','text',0,2,19,1795870258519,1795870258531,NULL);
INSERT INTO conversation VALUES ('c-2d8cd8fe64837a05','','asked once','text',0,2,22,1795870258567,1795870258582,NULL);
INSERT INTO message VALUES (1,'m-49bfd9787ee6a445','c-b7dc5f4022d50458',1,NULL,'user','如何排序？','complete',1795870258288,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (2,'m-1fd3cc5c74122758','c-b7dc5f4022d50458',2,'m-49bfd9787ee6a445','assistant','用快速排序。','complete',1795870258288,'想一想','qwen','stop','{"prompt":26,"cached":0,"completion":4,"ttft_ms":41.5,"tps":31.2,"ctx_used":30,"ctx_max":4096}','{"temperature":0,"stop":["x"]}',NULL,NULL);
INSERT INTO message VALUES (3,'m-1ddf5a2dae9ed9a5','c-b7dc5f4022d50458',3,NULL,'user','How to sort?','complete',1795870258319,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (4,'m-d062232265082848','c-b7dc5f4022d50458',4,'m-1ddf5a2dae9ed9a5','assistant','Quicksort.','complete',1795870258319,'',NULL,'stop',NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (5,'m-b88fa96618d9d70f','c-b7dc5f4022d50458',5,'m-d062232265082848','user','And in Python?','complete',1795870258347,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (6,'m-4b407cb68b646c81','c-b7dc5f4022d50458',6,'m-b88fa96618d9d70f','assistant','sorted() does it.','complete',1795870258347,'',NULL,'stop',NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (7,'m-bca3da411bb2a302','c-b7dc5f4022d50458',7,'m-b88fa96618d9d70f','assistant','so far','running',1795870258367,'','qwen',NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (8,'m-a64cbf3abbe08af6','c-b7dc5f4022d50458',8,'m-4b407cb68b646c81','user','to be deleted','complete',1795870258392,'',NULL,NULL,NULL,NULL,NULL,1795870258431);
INSERT INTO message VALUES (9,'m-d27582eafd8d6d63','c-b7dc5f4022d50458',9,'m-a64cbf3abbe08af6','assistant','gone','complete',1795870258392,'',NULL,'stop',NULL,NULL,NULL,1795870258431);
INSERT INTO message VALUES (10,'m-e8272b4b8ffba02b','c-5b3d07c63637b947',1,NULL,'user',CAST(X'610062e280a863203c7c696d5f656e647c3e20f09f9982' AS TEXT),'complete',1795870258443,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (11,'m-9923fd411b3fc4fe','c-5b3d07c63637b947',2,'m-e8272b4b8ffba02b','assistant','half','error',1795870258443,'',NULL,NULL,NULL,NULL,'{"code":"engine_failed","message":"the engine ended.","retryable":true,"retry_after_s":null}',NULL);
INSERT INTO message VALUES (12,'m-c7c2d2b2d71d7c3b','c-6950f0570984a005',1,NULL,'user','deleted whole','complete',1795870258475,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (13,'m-5777463de7c3bd02','c-6950f0570984a005',2,'m-c7c2d2b2d71d7c3b','assistant','yes','complete',1795870258475,'',NULL,'stop',NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (14,'m-cd65a75bf329e6d7','c-83411da281628e66',1,NULL,'user','somebody''s','complete',1795870258519,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (15,'m-40b94575079788d1','c-83411da281628e66',2,'m-cd65a75bf329e6d7','assistant','no','complete',1795870258519,'',NULL,'stop',NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (16,'m-13a882c0ad7874ad','c-2d8cd8fe64837a05',1,NULL,'user','asked once','complete',1795870258567,'',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO message VALUES (17,'m-37e0a6b1af1d69cf','c-2d8cd8fe64837a05',2,'m-13a882c0ad7874ad','assistant','once','complete',1795870258567,'',NULL,'stop',NULL,'{"temperature":0.5}',NULL,NULL);
INSERT INTO run VALUES ('r-46818943ac7f5969','','c-b7dc5f4022d50458','m-49bfd9787ee6a445','m-1fd3cc5c74122758','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-56f420f75fa83e41','','c-b7dc5f4022d50458','m-1ddf5a2dae9ed9a5','m-d062232265082848','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-c218ca02470ce432','','c-b7dc5f4022d50458','m-b88fa96618d9d70f','m-4b407cb68b646c81','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-de53e816ec84f3bf','','c-b7dc5f4022d50458','m-b88fa96618d9d70f','m-bca3da411bb2a302','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-fbdccda8548afad2','','c-b7dc5f4022d50458','m-a64cbf3abbe08af6','m-d27582eafd8d6d63','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-110fc7b38b29d1c0','','c-5b3d07c63637b947','m-e8272b4b8ffba02b','m-9923fd411b3fc4fe','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-18d2eb8380562edb','','c-6950f0570984a005','m-c7c2d2b2d71d7c3b','m-5777463de7c3bd02','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-3880274f3d74dcc9','k-1','c-83411da281628e66','m-cd65a75bf329e6d7','m-40b94575079788d1','lease-8948d462e1a1ddcb',NULL,NULL);
INSERT INTO run VALUES ('r-441010819355d915','','c-2d8cd8fe64837a05','m-13a882c0ad7874ad','m-37e0a6b1af1d69cf','lease-8948d462e1a1ddcb','key','79c59a7635d5a4bc9ef952d3f18e0faa2f78207644b58f92663e42c07b351882');
INSERT INTO document VALUES ('','presets',1,'[{"name":"简短","text":"Be brief."}]');
INSERT INTO words (rowid, body) VALUES (-5, 'asked once');
INSERT INTO words (rowid, body) VALUES (-4, 'somebody''s');
INSERT INTO words (rowid, body) VALUES (-3, 'deleted whole');
INSERT INTO words (rowid, body) VALUES (-2, 'a b c <|im_end|> 🙂');
INSERT INTO words (rowid, body) VALUES (-1, ' 排  序 ');
INSERT INTO words (rowid, body) VALUES (1, ' 如  何  排  序 ？');
INSERT INTO words (rowid, body) VALUES (2, ' 用  快  速  排  序 。');
INSERT INTO words (rowid, body) VALUES (3, 'How to sort?');
INSERT INTO words (rowid, body) VALUES (4, 'Quicksort.');
INSERT INTO words (rowid, body) VALUES (5, 'And in Python?');
INSERT INTO words (rowid, body) VALUES (6, 'sorted() does it.');
INSERT INTO words (rowid, body) VALUES (8, 'to be deleted');
INSERT INTO words (rowid, body) VALUES (9, 'gone');
INSERT INTO words (rowid, body) VALUES (10, CAST(X'612062e280a863203c7c696d5f656e647c3e20f09f9982' AS TEXT));
INSERT INTO words (rowid, body) VALUES (11, 'half');
INSERT INTO words (rowid, body) VALUES (12, 'deleted whole');
INSERT INTO words (rowid, body) VALUES (13, 'yes');
INSERT INTO words (rowid, body) VALUES (14, 'somebody''s');
INSERT INTO words (rowid, body) VALUES (15, 'no');
INSERT INTO words (rowid, body) VALUES (16, 'asked once');
INSERT INTO words (rowid, body) VALUES (17, 'once');
PRAGMA user_version = 2;
