-- Deleting what has ended because somebody wants it gone, a bounded number of rows at once.

-- Deletes jobs that have ended, of those with numbers from the one after *after* on up to *last*, and runs as a whole;
-- returns how far it has looked, nothing when that was all, and how many jobs were found.
--
-- horizon: since when it, or its run, has ended. its_name: of a job by itself, or of the flow; NULL for all.
-- only_succeeded: of a run, only if all its jobs have. dry: nothing is deleted.
CREATE OR REPLACE FUNCTION purge(
    after bigint, last bigint, horizon double precision, its_name text, only_succeeded boolean, most integer, dry boolean
) RETURNS jsonb LANGUAGE plpgsql SET search_path = lifecycle, pg_temp AS $$
DECLARE
    gone bigint[];
    ended_with bigint[];
BEGIN
    PERFORM need_read_committed();
    PERFORM share_gate('{}'); -- nobody has one of them tried again meanwhile: that takes the gate alone
    SELECT coalesce(array_agg(id ORDER BY id), '{}'), coalesce(array_agg(DISTINCT run) FILTER (WHERE run IS NOT NULL), '{}')
    INTO gone, ended_with
    FROM (
        SELECT jobs.id, jobs.run FROM jobs LEFT JOIN runs ON runs.id = jobs.run
        WHERE jobs.id > after AND jobs.id <= last AND jobs.finished IS NOT NULL
            AND CASE WHEN jobs.run IS NULL THEN jobs.finished ELSE runs.finished END <= horizon
            AND (its_name IS NULL OR coalesce(runs.flow, jobs.name) = its_name)
            AND NOT (only_succeeded AND jobs.state <> 'succeeded')
            AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.run = runs.id
                AND (other.id > last OR (only_succeeded AND other.state <> 'succeeded')))
        ORDER BY jobs.id LIMIT most) AS found;
    IF NOT dry THEN
        PERFORM delete_jobs(gone, ended_with);
    END IF;
    RETURN jsonb_build_object('last', gone[cardinality(gone)], 'found', cardinality(gone));
END $$;
