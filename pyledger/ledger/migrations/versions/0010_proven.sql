-- A batch and a checkpoint say nothing that `pyledger check` cannot prove: these columns followed from nothing, nothing
-- followed from them, and whoever changed one of them was not found out.

ALTER TABLE pyledger.batch DROP COLUMN epoch, DROP COLUMN committed_at;
ALTER TABLE pyledger.checkpoint DROP COLUMN taken_at;
ALTER TABLE pyledger.signed_checkpoint DROP COLUMN signed_at;
