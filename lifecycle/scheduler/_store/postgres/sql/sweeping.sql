-- Deleting what has ended: by age and by count, a bounded number of rows in each turn.

-- Looks at some jobs by their numbers, from the one after *last* on, and deletes those that need not be kept; returns
-- from where to go on, 0 when everything has been looked at, and how many those were.
CREATE OR REPLACE FUNCTION sweep(last bigint, keep_for double precision, keep_jobs bigint, moment double precision) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    oldest_kept bigint := CASE WHEN keep_jobs IS NULL THEN 0 ELSE coalesce((SELECT max(id) FROM jobs), 0) - keep_jobs + 1 END;
    horizon double precision := coalesce(moment - keep_for, 0);
    gone bigint[];
    ended_with bigint[];
    far bigint;
    seen integer;
    old integer;
BEGIN
    SELECT array_agg(id) FILTER (WHERE is_old AND may_go), array_agg(DISTINCT run) FILTER (WHERE is_old AND may_go AND run IS NOT NULL),
        max(id), count(*), count(*) FILTER (WHERE is_old)
    INTO gone, ended_with, far, seen, old
    FROM (
        SELECT jobs.id, jobs.run, jobs.id < oldest_kept OR jobs.created <= horizon AS is_old,
            jobs.finished IS NOT NULL AND (jobs.id < oldest_kept OR jobs.finished <= horizon)
            AND (jobs.run IS NULL OR coalesce(runs.finished < moment - 60, false)) AS may_go
        FROM jobs LEFT JOIN runs ON runs.id = jobs.run WHERE jobs.id > last ORDER BY jobs.id LIMIT 500) AS looked_at;
    PERFORM delete_jobs(gone, ended_with);
    RETURN jsonb_build_object(
        'last', CASE WHEN seen = 500 AND old = 500 THEN far ELSE 0 END, 'deleted', coalesce(cardinality(gone), 0));
END $$;

-- Deletes jobs that have ended, and runs left without a job. That another job needed one which did not succeed stays
-- known until that other one is deleted, too: it cannot be tried again.
CREATE OR REPLACE FUNCTION delete_jobs(numbers bigint[], of_runs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF numbers IS NULL THEN
        RETURN;
    END IF;
    -- Nobody else deletes the same, or has one of them tried again.
    numbers := ARRAY(SELECT id FROM jobs WHERE id = ANY(numbers) AND finished IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED);
    DELETE FROM needs WHERE job = ANY(numbers);
    DELETE FROM needs USING jobs WHERE needs.needed = ANY(numbers) AND jobs.id = needs.needed
        AND (tolerant OR state IN ('succeeded', 'skipped'));
    DELETE FROM jobs WHERE id = ANY(numbers);
    DELETE FROM runs WHERE id = ANY(of_runs) AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.run = runs.id);
END $$;
