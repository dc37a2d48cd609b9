-- A database of the first layout, as a service of 0.1.0 left it.
PRAGMA page_size = 16384;
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN TRANSACTION;
CREATE TABLE blocks (
        row INTEGER PRIMARY KEY,
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
INSERT INTO "blocks" VALUES(1,1,1,4,1795729467033104459,1795729467033284818,X'224BB035A36FB6EB18030000007F0000012FED0100EFFF4D016942026C6F6F6E65024C5038A36FB6EB18000000007F0000012FED0102D27038A36FB6EB18050000007F0000012FED017468726565');
INSERT INTO "blocks" VALUES(2,3,1,2,1795729486188951670,1795729486188951670,X'3276B8FC1874B6EB18040000007F0000016A4240D700000000000000010000000C007F000001E09E026C6F706F6E67');
INSERT INTO "blocks" VALUES(3,2,1,2,1795729486188767826,1795729486188767826,X'2252EAF91874B6EB18040000007F000001E09E0100EFFF4D026A42026C6F70696E67');
CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        progress TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        appended INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL,
        evicted INTEGER NOT NULL,
        truncated INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        complete INTEGER NOT NULL
    ) STRICT;
INSERT INTO "logs" VALUES(1,'{"dropped_buffers":0,"interfaces":[{"name":"lo","received":{"datagrams":3,"bytes":8,"last_received_at":1795729467033284818}}],"replies":null}',-5181857950193089555,1,4,3,8,0,0,0,0);
INSERT INTO "logs" VALUES(2,'{"dropped_buffers":0,"interfaces":[{"name":"lo","received":{"datagrams":1,"bytes":4,"last_received_at":1795729486188767826}}],"replies":{"received":1,"matched":1,"replied":1,"failed":0,"limited":0,"suppressed":0}}',7303914883454534684,1,2,1,4,0,0,0,0);
INSERT INTO "logs" VALUES(3,'{"closed":["window",1795729486493974571],"routes":[{"interface":"lo","source":"127.0.0.1:40672","sent":1,"failed":0,"first_sent_at":1795729486188736537,"last_sent_at":1795729486188736537,"error":null,"loopback_ignored":false}],"counters":{"responses":1,"responders":1,"duplicates":0,"late":0,"strays":0},"dropped_buffers":0,"responders":[["127.0.0.1:17002",{"responses":1,"first_sequence":1,"first_rtt_us":215,"late":false}]]}',-7642365119003683432,1,2,1,4,0,0,0,1);
CREATE TABLE owners (
        log INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        wanted TEXT NOT NULL
    ) STRICT;
INSERT INTO "owners" VALUES(1,'membership','tap','{"created_at":1795729466739651583,"spec":{"group":"239.255.77.1:17001","interfaces":{"named":["lo"]},"allow_missing":false,"sources":"any","exact_drops":false,"retention":{"datagrams":null,"bytes":null,"age":null}},"rules":null,"lease":null,"declared":false}');
INSERT INTO "owners" VALUES(2,'responder','echo','{"created_at":1795729473597658351,"spec":{"group":"239.255.77.2:17002","interfaces":{"named":["lo"]},"allow_missing":false,"sources":"any","exact_drops":false,"retention":{"datagrams":null,"bytes":null,"age":null}},"rules":{"reply":{"fixed":"cG9uZw=="},"matches":"all","delay":{"start":0,"end":0},"reply_from":null,"dedupe":true},"lease":null,"declared":false}');
INSERT INTO "owners" VALUES(3,'message','01a219d1-716c-77c6-ba15-774676826d37','{"created_at":1795729486188671525,"spec":{"group":"239.255.77.2:17002","interfaces":{"named":["lo"]},"source":null,"payload":"cGluZw==","hop_limit":1,"loopback":true,"source_port":null,"window":{"secs":0,"nanos":300000000},"expect":null,"stall":null,"repeat":{"count":1,"interval":{"secs":0,"nanos":0}},"track_attempts":false,"linger":{"secs":2,"nanos":0},"retention":{"datagrams":null,"bytes":null,"age":null}}}');
CREATE TABLE service (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        opened_at INTEGER NOT NULL,
        version TEXT NOT NULL
    ) STRICT;
INSERT INTO "service" VALUES(1,1795729484193586746,'0.1.0');
COMMIT;
PRAGMA application_id = 1383033964;
PRAGMA user_version = 1;
