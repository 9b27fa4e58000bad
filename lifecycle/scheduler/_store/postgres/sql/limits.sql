-- Limits: setting, pausing and listing them. What they hold back is decided where jobs are claimed.

-- Sets a limit, but for its pause and what has been used of its rate, which stay as they are: who sets its limits at every
-- start would let in a burst with each.
CREATE OR REPLACE FUNCTION put_limit(new jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    said limits := jsonb_populate_record(NULL::limits, new);
BEGIN
    PERFORM need_alone();
    INSERT INTO limits (kind, name, paused, at_once, number, per, burst, weight, whole_at)
    VALUES (said.kind, said.name, false, said.at_once, said.number, said.per, said.burst, said.weight, 0)
    ON CONFLICT (kind, name) DO UPDATE SET
        at_once = excluded.at_once, number = excluded.number, per = excluded.per, burst = excluded.burst,
        weight = excluded.weight;
    PERFORM forget_neutral(said.kind, said.name);
END $$;

-- Pauses what a limit is about, or resumes it; returns whether that changed anything.
CREATE OR REPLACE FUNCTION pause_limit(its_kind text, its_name text, pausing boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    changed boolean;
BEGIN
    PERFORM need_alone();
    INSERT INTO limits (kind, name, paused, weight, whole_at) VALUES (its_kind, its_name, false, 1, 0)
    ON CONFLICT (kind, name) DO NOTHING;
    UPDATE limits SET paused = pausing WHERE kind = its_kind AND name = its_name AND paused <> pausing;
    changed := FOUND;
    PERFORM forget_neutral(its_kind, its_name);
    RETURN changed;
END $$;

-- One that holds nothing back is not kept. More may begin now.
CREATE OR REPLACE FUNCTION forget_neutral(its_kind text, its_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM limits
    WHERE kind = its_kind AND name = its_name AND NOT paused AND at_once IS NULL AND number IS NULL AND weight = 1;
    PERFORM tell_of_work();
END $$;

-- Counts what could begin of a queue, of a handler, or of all where both are NULL: by the index, and no further than
-- people can tell apart. A job that calls a handler is done by whoever knows that, or by whoever knows its flow.
CREATE OR REPLACE FUNCTION count_ready(of_queue text, of_handler text, counted integer) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM (
        SELECT 1 FROM ready_queues() AS its_queue CROSS JOIN LATERAL doers_in(its_queue) AS its_doer
            CROSS JOIN LATERAL (
                SELECT 1 FROM jobs
                WHERE state = 'pending' AND unmet = 0 AND due = 0 AND queue = its_queue AND doer = its_doer
                    AND (of_handler IS NULL OR coalesce(handler, '') = of_handler)
                LIMIT counted) AS jobs
        WHERE (of_queue IS NULL OR its_queue = of_queue)
            AND (of_handler IS NULL OR its_doer = of_handler OR its_doer LIKE 'flow:%')
        LIMIT counted) AS found
$$;

-- All limits, as arrays of their columns; how many jobs run of each queue and handler; and for what has a limit, or has
-- jobs, how many of it could begin, *counted* at most.
CREATE OR REPLACE FUNCTION limit_facts(counted integer) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$
    WITH lanes AS MATERIALIZED (
        SELECT queue, doer FROM ready_queues() AS queue CROSS JOIN LATERAL doers_in(queue) AS doer
    ), running AS MATERIALIZED (
        SELECT queue, handler, count(*) AS many FROM jobs WHERE state = 'running' GROUP BY queue, handler
    ), keys AS (
        SELECT kind, name FROM limits
        UNION SELECT 'queue', queue FROM running
        UNION SELECT 'queue', queue FROM lanes
    )
    SELECT jsonb_build_object(
        'limits', (SELECT coalesce(jsonb_agg(jsonb_build_array(
            kind, name, paused, at_once, number, per, burst, weight, whole_at) ORDER BY kind, name), '[]') FROM limits),
        'running', (SELECT coalesce(jsonb_agg(jsonb_build_array(queue, handler, many)), '[]') FROM running),
        'ready', (SELECT coalesce(jsonb_agg(jsonb_build_array(kind, name, count_ready(
            CASE WHEN kind = 'queue' THEN name END, CASE WHEN kind = 'handler' THEN name END, counted))), '[]') FROM keys))
$$;
