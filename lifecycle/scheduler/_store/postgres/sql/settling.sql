-- Settling: what follows from the end of a job for the jobs that need it, and for its run.
--
-- A job is decided when all that it needs has ended, and not before. Then one that runs on success is skipped (cancelled)
-- if a need did not succeed that may not fail; one that runs on failure is skipped (skipped) if everything above it has
-- succeeded; one that runs always runs.

-- A name as messages have it.
CREATE OR REPLACE FUNCTION quoted(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name LIKE '%''%' AND name NOT LIKE '%"%' THEN '"' || replace(name, '\', '\\') || '"'
           ELSE '''' || replace(replace(name, '\', '\\'), '''', '\''') || '''' END
$$;

-- Why the dependants of a job do not run, NULL when that is no reason.
CREATE OR REPLACE FUNCTION skip_reason(name text, state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'needs ' || quoted(name) || ', which ' || CASE state
        WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'was cancelled' WHEN 'timed_out' THEN 'timed out' END
$$;

-- Whether the failure of a job is allowed: some job of its run says so, and none needs it to succeed.
CREATE OR REPLACE FUNCTION may_fail(of_job bigint, of_run bigint) RETURNS boolean LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$
    SELECT of_run IS NOT NULL AND EXISTS (SELECT 1 FROM needs WHERE needed = of_job AND tolerant) AND NOT EXISTS (
        SELECT 1 FROM needs JOIN jobs AS below ON below.id = needs.job
        WHERE needs.needed = of_job AND NOT tolerant AND below.when_ IS NULL AND below.run = of_run)
$$;

CREATE OR REPLACE FUNCTION run_status(of_run bigint, why text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN NOT EXISTS (
            SELECT 1 FROM jobs WHERE run = of_run
            AND (state = 'cancelled' OR (state IN ('failed', 'timed_out') AND NOT may_fail(id, run)))) THEN 'succeeded'
        WHEN why IS NOT NULL THEN 'cancelled' ELSE 'failed' END
$$;

-- Lets the dependants of a job go on, or skips them, and counts it in its run. NULL when nothing followed from its end.
CREATE OR REPLACE FUNCTION settle(
    of_job bigint, job_name text, of_run bigint, how text, moment double precision, by_owner bigint,
    is_held boolean DEFAULT false
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    skipped jsonb;
    ended integer;
BEGIN
    skipped := decide_dependants(
        of_job, of_run, skip_reason(job_name, how), moment, by_owner, CASE WHEN is_held THEN of_run END);
    IF of_run IS NULL THEN
        RETURN CASE WHEN jsonb_array_length(skipped) > 0 THEN jsonb_build_object('skipped', skipped) END;
    END IF;
    SELECT 1 + count(*) INTO ended FROM jsonb_array_elements(skipped) AS one WHERE (one->>4)::bigint = of_run;
    RETURN jsonb_build_object(
        'run', of_run, 'skipped', skipped, 'run_finished', count_down(of_run, ended, moment, by_owner));
END $$;

-- Tells those that need a job that it has ended, skips those that are not to run, and so on. Returns what was skipped:
-- number, name, reason, state, run. Those of the run that is held are decided nevertheless.
CREATE OR REPLACE FUNCTION decide_dependants(
    of_job bigint, of_run bigint, why text, moment double precision, by_owner bigint, held_run bigint DEFAULT NULL,
    outside_only boolean DEFAULT false
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    ended bigint[] := ARRAY[of_job];
    reasons text[] := ARRAY[why];
    number bigint;
    reason text;
    dependant record;
    told integer;
    elsewhere integer;
    top integer := 1; -- of the stack that both are
    skipped jsonb[] := '{}';
BEGIN
    WHILE top > 0 LOOP
        number := ended[top];
        reason := reasons[top];
        top := top - 1;
        WITH moved AS (
            UPDATE jobs SET
                unmet = unmet - 1,
                due = CASE WHEN unmet = 1 AND delay > 0 THEN moment + delay ELSE due END,
                trouble = trouble OR (
                    (reason IS NOT NULL OR (SELECT above.trouble FROM jobs AS above WHERE above.id = number))
                    AND NOT (run IS NULL AND tolerant)),
                blocked = coalesce(blocked, CASE WHEN NOT tolerant THEN reason END)
            FROM needs
            WHERE needs.needed = number AND needs.job = jobs.id AND finished IS NULL
                AND (run IS NULL OR NOT outside_only)
            RETURNING run)
        SELECT count(*), count(*) FILTER (WHERE of_run IS NULL OR run IS DISTINCT FROM of_run)
        INTO told, elsewhere FROM moved;
        IF elsewhere > 0 THEN
            PERFORM need_alone();
        END IF;
        IF told > 0 THEN
            PERFORM tell_of_work();
            FOR dependant IN
                SELECT jobs.id, name, jobs.blocked, run, sender FROM needs JOIN jobs ON jobs.id = needs.job
                WHERE needs.needed = number AND unmet = CASE WHEN run = held_run THEN 1 ELSE 0 END
                    AND state IN ('pending', 'interrupted') AND (run IS NULL OR NOT outside_only)
                    AND CASE coalesce(when_, 'success')
                        WHEN 'success' THEN jobs.blocked IS NOT NULL WHEN 'failure' THEN NOT trouble ELSE false END
                ORDER BY jobs.id
            LOOP
                reason := coalesce(dependant.blocked, 'nothing that it needs has failed');
                UPDATE jobs SET state = CASE WHEN dependant.blocked IS NULL THEN 'skipped' ELSE 'cancelled' END,
                    cancel = reason, error = reason, finished = moment, owner = NULL, skipped = true
                WHERE id = dependant.id;
                IF dependant.sender IS DISTINCT FROM by_owner THEN
                    PERFORM notify_owner(dependant.sender, dependant.id);
                END IF;
                skipped := array_append(skipped, jsonb_build_array(
                    dependant.id, dependant.name, reason,
                    CASE WHEN dependant.blocked IS NULL THEN 'skipped' ELSE 'cancelled' END, dependant.run));
                top := top + 1;
                ended[top] := dependant.id;
                reasons[top] := dependant.blocked;
            END LOOP;
        END IF;
    END LOOP;
    RETURN to_jsonb(skipped);
END $$;

-- Notes that so many jobs of a run have ended; returns whether these were the last.
CREATE OR REPLACE FUNCTION count_down(of_run bigint, ended integer, moment double precision, by_owner bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    run runs;
BEGIN
    UPDATE runs SET unfinished = unfinished - ended WHERE id = of_run RETURNING * INTO run;
    IF run.id IS NULL OR run.unfinished <> 0 THEN
        RETURN false;
    END IF;
    UPDATE runs SET finished = moment, owner = NULL, status = run_status(id, run.cancel) WHERE id = of_run;
    PERFORM tell('run ' || of_run);
    PERFORM let_in(run.flow, moment);
    IF run.schedule IS NOT NULL THEN
        PERFORM need_alone();
        PERFORM begin_delay(run.schedule, NULL, of_run, moment);
    END IF;
    RETURN true;
END $$;

-- Lets the delay of a schedule begin, if that is what it goes by: its last job or run has ended.
CREATE OR REPLACE FUNCTION begin_delay(of_schedule bigint, of_job bigint, of_run bigint, moment double precision) RETURNS void
LANGUAGE sql AS $$
    SELECT tell('schedule'); -- it may have been waited for, too
    UPDATE schedules SET next_due = moment + rule::double precision
    WHERE id = of_schedule AND kind = 'fixed_delay' AND next_due IS NULL AND (last_job = of_job OR last_run = of_run)
$$;

-- Lets the oldest runs of a flow begin that wait and for which there is room. Not those that nobody has: they would take
-- the place of others and do nothing. Whoever takes one over asks again.
CREATE OR REPLACE FUNCTION let_in(of_flow text, moment double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    most integer;
    room bigint;
    one bigint;
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM runs WHERE flow = of_flow AND held AND finished IS NULL AND owner IS NOT NULL
    ) THEN
        RETURN;
    END IF;
    PERFORM need_alone();
    SELECT max_instances INTO most FROM runs WHERE flow = of_flow ORDER BY id DESC LIMIT 1;
    SELECT most - count(*) INTO room FROM runs WHERE flow = of_flow AND NOT held AND finished IS NULL;
    FOR one IN
        SELECT id FROM runs WHERE flow = of_flow AND held AND finished IS NULL AND owner IS NOT NULL
        ORDER BY id LIMIT CASE WHEN most IS NOT NULL THEN greatest(room, 0) END -- NULL: without a bound
    LOOP
        UPDATE runs SET held = false WHERE id = one;
        UPDATE jobs SET unmet = unmet - 1, due = CASE WHEN unmet = 1 AND delay > 0 THEN moment + delay ELSE due END
        WHERE jobs.run = one AND finished IS NULL;
        PERFORM tell_of_work();
    END LOOP;
END $$;
