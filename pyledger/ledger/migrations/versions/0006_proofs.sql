CREATE TABLE pyledger.subtree (
    shard smallint NOT NULL,
    level smallint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT subtree_place_unique PRIMARY KEY (shard, level, number),
    CONSTRAINT subtree_level_known CHECK (level BETWEEN 1 AND 7),
    CONSTRAINT subtree_number_not_negative CHECK (number >= 0),
    CONSTRAINT subtree_hash_32_bytes CHECK (octet_length(hash) = 32)
);

CREATE TABLE pyledger.signed_checkpoint (
    shard smallint NOT NULL,
    size bigint NOT NULL,
    key_number bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    note text COLLATE "C" NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT signed_checkpoint_size_and_key_unique PRIMARY KEY (shard, size, key_number),
    CONSTRAINT signed_checkpoint_size_positive CHECK (size > 0),
    CONSTRAINT signed_checkpoint_key_number_32_bits CHECK (key_number BETWEEN 0 AND 4294967295)
);

CREATE TRIGGER signed_checkpoint_never_changed BEFORE UPDATE OR DELETE ON pyledger.signed_checkpoint
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER signed_checkpoint_never_truncated BEFORE TRUNCATE ON pyledger.signed_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();

GRANT SELECT ON pyledger.subtree, pyledger.signed_checkpoint TO pyledger_writer, pyledger_reader;
GRANT INSERT ON pyledger.subtree, pyledger.signed_checkpoint TO pyledger_writer;
