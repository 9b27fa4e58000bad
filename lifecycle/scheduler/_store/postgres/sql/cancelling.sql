-- Cancelling, and other ends of jobs that do not run.

-- Cancels a job that does not run, or notes the request for one that does.
CREATE OR REPLACE FUNCTION cancel(of_job bigint, reason text, moment double precision, by_owner bigint) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    job jobs;
BEGIN
    PERFORM need_alone();
    SELECT * INTO job FROM jobs WHERE id = of_job;
    IF job.id IS NULL THEN
        RETURN '{"found": false}';
    END IF;
    IF job.finished IS NOT NULL THEN
        RETURN jsonb_build_object('found', true, 'before', job.state);
    END IF;
    IF job.state = 'running' THEN
        UPDATE jobs SET cancel = coalesce(jobs.cancel, reason) WHERE id = of_job RETURNING * INTO job;
        PERFORM ask_to_stop(job); -- its own scheduler too: it may just be about to start the job
        RETURN jsonb_build_object('found', true, 'before', job.state);
    END IF;
    RETURN jsonb_build_object('found', true, 'before', job.state, 'settled', coalesce(
        end_unrun(of_job, 'cancelled', reason, moment, by_owner), '{}'));
END $$;

-- Ends a job that does not run, and settles what follows; the senders of all that are told, but for the one that asks.
CREATE OR REPLACE FUNCTION end_unrun(of_job bigint, how text, reason text, moment double precision, by_owner bigint) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    job jobs;
BEGIN
    UPDATE jobs SET state = how, error = reason, finished = moment, owner = NULL,
        cancel = CASE WHEN how = 'cancelled' THEN reason ELSE jobs.cancel END
    WHERE id = of_job RETURNING * INTO job;
    IF job.run IS NULL THEN
        -- The job has its key again that still runs, and that this one was to replace: none is to run beside it.
        UPDATE jobs SET key = job.key FROM needs
        WHERE needs.job = of_job AND tolerant AND jobs.id = needed AND finished IS NULL AND job.key IS NOT NULL;
    END IF;
    IF job.sender IS DISTINCT FROM by_owner THEN
        PERFORM notify_owner(job.sender, of_job);
    END IF;
    IF job.schedule IS NOT NULL THEN
        PERFORM begin_delay(job.schedule, of_job, NULL, moment);
    END IF;
    RETURN settle(of_job, job.name, job.run, how, moment, by_owner,
        coalesce((SELECT held FROM runs WHERE id = job.run), false));
END $$;

-- Cancels the jobs of a run that do not run, and notes the request for those that do. Those that run always are left
-- alone, unless everything is meant, or the run was cancelled before, or has done nothing yet since it waits for others.
-- Returns what was skipped, the numbers of those that run, and whether that was the end of the run; NULL for no such run.
CREATE OR REPLACE FUNCTION cancel_run(
    of_run bigint, reason text, moment double precision, by_owner bigint, everything boolean DEFAULT false
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    run runs;
    whole boolean;
    running bigint[];
    ended jsonb;
    skipped jsonb;
    over boolean := false;
    one record;
BEGIN
    PERFORM need_alone();
    SELECT * INTO run FROM runs WHERE id = of_run;
    IF run.id IS NULL THEN
        RETURN NULL;
    END IF;
    whole := everything OR run.cancel IS NOT NULL OR run.held;
    UPDATE runs SET cancel = coalesce(runs.cancel, reason) WHERE id = of_run;
    WITH asked AS (
        UPDATE jobs SET cancel = coalesce(jobs.cancel, reason)
        WHERE jobs.run = of_run AND state = 'running' AND (whole OR coalesce(when_, '') <> 'always')
        RETURNING id)
    SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO running FROM asked;
    WITH gone AS (
        UPDATE jobs SET state = 'cancelled', cancel = reason, error = reason, finished = moment, owner = NULL
        WHERE jobs.run = of_run AND state IN ('pending', 'interrupted') AND (whole OR coalesce(when_, '') <> 'always')
        RETURNING id, name)
    SELECT coalesce(jsonb_agg(jsonb_build_array(id, name, reason, 'cancelled', of_run) ORDER BY id), '[]')
    INTO ended FROM gone;
    UPDATE jobs SET trouble = true, unmet = waits.left_over,
        due = CASE WHEN delay > 0 AND waits.left_over = 0 THEN moment + delay ELSE due END
    FROM (
        SELECT below.id, count(above.id) AS left_over
        FROM jobs AS below LEFT JOIN needs ON needs.job = below.id
            LEFT JOIN jobs AS above ON above.id = needs.needed AND above.finished IS NULL
        WHERE below.run = of_run AND below.when_ = 'always' AND below.unmet > 0 AND below.finished IS NULL
        GROUP BY below.id) AS waits
    WHERE jobs.id = waits.id;
    PERFORM tell_of_work();
    skipped := ended;
    IF jsonb_array_length(ended) > 0 THEN
        over := count_down(of_run, jsonb_array_length(ended), moment, by_owner);
    END IF;
    PERFORM ask_to_stop(jobs) FROM (SELECT * FROM jobs WHERE id = ANY(running) ORDER BY id) AS jobs;
    IF run.owner IS DISTINCT FROM by_owner THEN
        FOR one IN SELECT (said->>0)::bigint AS id FROM jsonb_array_elements(ended) AS said LOOP
            PERFORM notify_owner(run.owner, one.id);
        END LOOP;
    END IF;
    -- What is not of the run and needs jobs of it that were cancelled.
    FOR one IN
        SELECT mine.id, mine.name FROM jobs AS mine
        WHERE mine.run = of_run AND mine.id IN (SELECT (said->>0)::bigint FROM jsonb_array_elements(ended) AS said)
            AND EXISTS (
                SELECT 1 FROM needs JOIN jobs AS outside ON outside.id = needs.job
                WHERE needs.needed = mine.id AND outside.run IS NULL AND outside.finished IS NULL)
        ORDER BY mine.id
    LOOP
        skipped := skipped || decide_dependants(
            one.id, of_run, skip_reason(one.name, 'cancelled'), moment, by_owner, NULL, true);
    END LOOP;
    RETURN jsonb_build_object(
        'settled', jsonb_build_object('run', of_run, 'skipped', skipped, 'run_finished', over),
        'running', to_jsonb(running));
END $$;

-- Cancels the jobs that wait and have expired, a hundred at most; returns how many. Their senders are told, whoever asks.
CREATE OR REPLACE FUNCTION expire(moment double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    one record;
    found integer := 0;
BEGIN
    PERFORM need_alone();
    FOR one IN
        SELECT id, attempt FROM jobs WHERE expires IS NOT NULL AND state = 'pending' AND expires <= moment
        ORDER BY expires, id LIMIT 100
    LOOP
        PERFORM cancel(one.id, CASE WHEN one.attempt > 0 THEN 'expired before it began again'
            ELSE 'expired before it began' END, moment, NULL);
        found := found + 1;
    END LOOP;
    RETURN found;
END $$;

-- Gives a job that waits another priority; returns whether it does.
CREATE OR REPLACE FUNCTION set_priority(of_job bigint, its_priority bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE jobs SET priority = its_priority WHERE id = of_job AND state IN ('pending', 'interrupted');
    RETURN FOUND;
END $$;

-- Makes a job that does not run more urgent than another one, if it is not already.
CREATE OR REPLACE FUNCTION put_ahead(of_job bigint, other bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE jobs SET priority = 1 + before.priority FROM jobs AS before
    WHERE before.id = other AND jobs.id = of_job AND jobs.state = 'pending' AND jobs.priority <= before.priority;
END $$;
