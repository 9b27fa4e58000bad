-- Claiming: which ready jobs a scheduler starts now.

-- The queues with ready jobs: one step in the index for each.
CREATE OR REPLACE FUNCTION ready_queues() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE found AS (
        (SELECT queue FROM jobs WHERE state = 'pending' AND unmet = 0 AND due = 0 ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT jobs.queue FROM jobs WHERE state = 'pending' AND unmet = 0 AND due = 0 AND jobs.queue > found.queue
                ORDER BY jobs.queue LIMIT 1)
        FROM found WHERE found.queue IS NOT NULL)
    SELECT queue FROM found WHERE queue IS NOT NULL
$$;

-- What there is to do in one queue, whoever can.
CREATE OR REPLACE FUNCTION doers_in(of_queue text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE found AS (
        (SELECT doer FROM jobs WHERE state = 'pending' AND unmet = 0 AND due = 0 AND queue = of_queue ORDER BY doer LIMIT 1)
        UNION ALL
        SELECT (SELECT jobs.doer FROM jobs WHERE state = 'pending' AND unmet = 0 AND due = 0 AND jobs.queue = of_queue
                AND jobs.doer > found.doer ORDER BY jobs.doer LIMIT 1)
        FROM found WHERE found.doer IS NOT NULL)
    SELECT doer FROM found WHERE doer IS NOT NULL
$$;

-- Starts attempts of the most urgent ready jobs that a scheduler can do, and says what there is to come.
--
-- names: the handlers and flows that it knows; NULL for all. In what is returned, jobs, recorded and created are as
-- `start_attempts` has them; next_due is when a delayed job is ready, expires when one is not begun any more; adopt says
-- whether there is something that an owner has left.
CREATE OR REPLACE FUNCTION claim(by_owner bigint, room integer, names text[], shares jsonb, max_crashes integer, moment double precision)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    queues text[];
    chosen jsonb := '{}';
    picked bigint[];
    held bigint[];
    taken jsonb := '{"jobs": []}';
BEGIN
    UPDATE jobs SET due = 0 WHERE id IN (
        SELECT id FROM jobs WHERE state = 'pending' AND unmet = 0 AND due > 0 AND due <= moment
        ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED);
    IF room > 0 THEN
        held := held_back(by_owner, names, max_crashes);
        queues := ARRAY(SELECT ready_queues());
        IF cardinality(queues) > 1 OR EXISTS (SELECT 1 FROM limits) THEN
            chosen := choose(queues, room, names, held, shares, moment);
            picked := ARRAY(SELECT jsonb_array_elements_text(chosen->'picked')::bigint);
        ELSIF cardinality(queues) = 1 THEN
            picked := first_in(queues[1], room, names, held, moment);
        END IF;
        IF cardinality(picked) > 0 THEN
            taken := start_attempts(picked, by_owner, moment);
        END IF;
    END IF;
    RETURN (chosen - 'picked') || taken || jsonb_build_object(
        'next_due', (SELECT min(due) FROM jobs WHERE state = 'pending' AND unmet = 0 AND due > 0),
        'expires', (SELECT min(expires) FROM jobs WHERE expires IS NOT NULL AND state = 'pending'),
        'adopt', EXISTS (SELECT 1 FROM jobs WHERE state = 'interrupted' AND doer = ANY(names))
            OR EXISTS (SELECT 1 FROM runs WHERE finished IS NULL AND owner IS NULL AND doer = ANY(names)));
END $$;

-- The most urgent jobs of a queue, locked; those that another scheduler is about to take are passed over.
CREATE OR REPLACE FUNCTION first_in(
    of_queue text, room integer, names text[], held bigint[], moment double precision
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    picked bigint[];
    candidates bigint[];
    doers text[] := coalesce(names, ARRAY(SELECT doers_in(of_queue)));
    far integer := room + cardinality(held) + 4;
BEGIN
    LOOP
        candidates := ARRAY(
            SELECT next.id FROM unnest(doers) AS lane(doer) CROSS JOIN LATERAL (
                SELECT jobs.id, jobs.priority FROM jobs
                WHERE state = 'pending' AND unmet = 0 AND due = 0 AND queue = of_queue AND jobs.doer = lane.doer
                    AND (expires IS NULL OR expires > moment)
                ORDER BY jobs.priority DESC, jobs.id LIMIT far) AS next
            ORDER BY next.priority DESC, next.id LIMIT far);
        picked := ARRAY(
            SELECT id FROM jobs
            WHERE id = ANY(candidates) AND id <> ALL(held) AND state = 'pending' AND unmet = 0 AND due = 0
            ORDER BY priority DESC, id LIMIT room FOR UPDATE SKIP LOCKED);
        -- Look further when others hold what is nearest.
        EXIT WHEN cardinality(picked) = room OR cardinality(candidates) < far OR far > room * 100 + 1000;
        far := far * 8;
    END LOOP;
    RETURN picked;
END $$;

-- Jobs are handed out until they have so many bytes together. A scheduler that is stopped does not read, and the database
-- waits with a longer answer, before the end of the transaction.
CREATE OR REPLACE FUNCTION bytes_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 100000::bigint $$;

-- Starts an attempt of each of these jobs: as many as go into one answer, but one in any case. In what is returned, jobs
-- are arrays of their columns, in this order; recorded has, by its number, the last attempt of each whose end was recorded,
-- NULL for none; created has when each was submitted. Apart, because schedulers of the first version read the arrays as
-- well.
CREATE OR REPLACE FUNCTION start_attempts(picked bigint[], by_owner bigint, moment double precision) RETURNS jsonb
LANGUAGE sql AS $$
    WITH sized AS (
        SELECT id, sum(coalesce(octet_length(payload), 0) + coalesce(octet_length(metadata), 0))
            OVER (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM unnest(picked) WITH ORDINALITY AS chosen(id, place) JOIN jobs USING (id)
    ), taken AS (
        UPDATE jobs SET state = 'running', owner = by_owner, attempt = attempt + 1, started = moment,
            logged = 0, progress_done = NULL, progress_total = NULL
        WHERE id IN (SELECT id FROM sized WHERE before IS NULL OR before < bytes_at_once()) AND state = 'pending'
        RETURNING *)
    SELECT jsonb_build_object('jobs', coalesce(jsonb_agg(jsonb_build_array(
        id, run, name, kind, attempt, failures, retries, backoff_first, backoff_longest, timeout, payload, expires, metadata)
        ORDER BY array_position(picked, id)), '[]'), 'recorded', jsonb_object_agg(id, recorded) FILTER (WHERE recorded > 0),
        'created', jsonb_object_agg(id, created))
    FROM taken
$$;

-- Jobs that have crashed their process so often that the next time would be the last, but for one that may run now: a
-- process runs several jobs at once, and only one of them has killed it. The guilty one is to be alone when it is told.
CREATE OR REPLACE FUNCTION held_back(by_owner bigint, names text[], max_crashes integer) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(id), '{}') FROM (
        SELECT id, state, row_number() OVER (
            ORDER BY (unmet = 0 AND due = 0 OR state = 'running') DESC, state = 'running' DESC, priority DESC, id) AS place
        FROM jobs
        WHERE crashes > 0 AND finished IS NULL AND crashes >= max_crashes - 1 AND (names IS NULL OR doer = ANY(names))
            AND (state = 'pending' OR owner = by_owner)) AS suspected
    WHERE place > 1 AND state = 'pending'
$$;

-- The attempts that a scheduler is to make and does not know of, because the answer in which they were is lost: jobs and
-- recorded as `start_attempts` has them.
CREATE OR REPLACE FUNCTION missed_attempts(by_owner bigint, ids bigint[]) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$
    SELECT jsonb_build_object('jobs', coalesce(jsonb_agg(jsonb_build_array(
        id, run, name, kind, attempt, failures, retries, backoff_first, backoff_longest, timeout, payload, expires, metadata)
        ORDER BY priority DESC, id), '[]'), 'recorded', jsonb_object_agg(id, recorded) FILTER (WHERE recorded > 0),
        'created', jsonb_object_agg(id, created))
    FROM jobs WHERE state = 'running' AND owner = by_owner AND id <> ALL(ids)
$$;

-- The same as schedulers of the first version ask for it.
CREATE OR REPLACE FUNCTION missed(by_owner bigint, ids bigint[]) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$ SELECT missed_attempts(by_owner, ids)->'jobs' $$;
