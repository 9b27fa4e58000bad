-- The clock may be set back, or the database may go on on a machine whose clock is behind: waits that this made longer are
-- shortened, so that no job waits for hours. Delays, retries and schedules are kept as times, because they survive a
-- restart. None of them may be further away than what was asked for; one that is was written before the clock was set back.

-- Lets no delayed job, and no schedule, wait for longer than was asked for.
CREATE OR REPLACE FUNCTION shorten_waits(moment double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE jobs SET due = moment + longest FROM (
        SELECT id AS number, CASE WHEN failures > 0 THEN backoff_longest ELSE delay END AS longest FROM jobs
        WHERE state = 'pending' AND unmet = 0 AND due > moment AND (failures > 0 OR at IS NULL)) AS waits
    WHERE id = number AND state = 'pending' AND unmet = 0 AND due > moment + longest;
    -- Not a cron expression, see `cron_schedules`, nor what has not started yet. A fixed rate keeps its phase while that
    -- takes no longer than a minute.
    UPDATE schedules SET anchor = moment, next_due = moment + rule::double precision
    WHERE next_due > moment AND kind <> 'cron' AND next_due IS DISTINCT FROM starts
        AND next_due > moment + CASE WHEN kind = 'cron' THEN 0 ELSE rule::double precision END
            + CASE WHEN kind = 'fixed_rate' THEN 60 ELSE 0 END;
END $$;

-- The cron expressions that are due later than now, and for which instants after that each has been run already: it goes
-- on with the first one for which it was not.
CREATE OR REPLACE FUNCTION cron_schedules(moment double precision) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', id, 'seen', xmin::text, 'rule', rule, 'timezone', timezone, 'starts', starts, 'ends', ends,
        'next_due', next_due, 'was_run', ARRAY(
            SELECT scheduled FROM jobs WHERE schedule = schedules.id AND scheduled >= moment
            UNION SELECT scheduled FROM runs WHERE schedule = schedules.id AND scheduled >= moment)) ORDER BY id), '[]')
    FROM schedules WHERE kind = 'cron' AND next_due > moment
$$;

-- Lets a schedule be due at another time; returns whether it is still as it was seen.
CREATE OR REPLACE FUNCTION set_due(of_schedule bigint, seen text, due double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE schedules SET next_due = due WHERE id = of_schedule AND xmin::text = seen;
    RETURN FOUND;
END $$;
