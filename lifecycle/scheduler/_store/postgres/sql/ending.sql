-- How attempts end. An end is accepted only of the attempt that the job is in, from the scheduler that runs it.

-- Ends many jobs by themselves of which nothing follows: as nearly all. Returns the numbers of those that it was.
CREATE OR REPLACE FUNCTION finish_plain(endings jsonb, by_owner bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    done bigint[];
    one bigint;
    senders bigint[];
BEGIN
    WITH ended AS (
        UPDATE jobs SET
            state = status, result = said.result, error = said.error, trace = said.trace, log = said.log,
            seconds = said.seconds, finished = said.now, failures = failures + said.failed::integer, owner = NULL,
            logged = coalesce(said.logged, jobs.logged), progress_done = coalesce(said.done, progress_done),
            progress_total = CASE WHEN said.done IS NULL THEN progress_total ELSE said.total END, recorded = jobs.attempt
        FROM jsonb_to_recordset(endings) AS said (
            id bigint, attempt bigint, now double precision, status text, result text, error text, trace text, log text,
            seconds double precision, failed boolean, logged bigint, done double precision, total double precision)
        WHERE jobs.id = said.id AND jobs.attempt = said.attempt AND owner = by_owner AND state = 'running'
            AND status <> 'interrupted' AND run IS NULL AND schedule IS NULL AND cancel IS NULL
            AND NOT EXISTS (SELECT 1 FROM needs WHERE needed = jobs.id)
        RETURNING jobs.id, sender)
    SELECT array_agg(id), array_agg(DISTINCT sender) INTO done, senders FROM ended;
    FOR one IN SELECT unnest(senders) LOOP
        PERFORM tell_of_end(one, by_owner);
    END LOOP;
    RETURN coalesce(done, '{}');
END $$;

-- Ends a running job, and settles what follows.
CREATE OR REPLACE FUNCTION finish(said jsonb, by_owner bigint, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    job jobs;
    settled jsonb;
    final boolean := said->>'status' <> 'interrupted';
BEGIN
    PERFORM have_run(jobs.run) FROM jobs WHERE id = (said->>'id')::bigint AND jobs.run IS NOT NULL;
    SELECT * INTO job FROM jobs
    WHERE id = (said->>'id')::bigint AND attempt = (said->>'attempt')::bigint AND owner = by_owner
        AND state = 'running' FOR UPDATE;
    IF job.id IS NULL THEN
        RETURN '{"accepted": false}';
    END IF;
    UPDATE jobs SET
        state = said->>'status', result = said->>'result', error = said->>'error', trace = said->>'trace',
        log = said->>'log', seconds = (said->>'seconds')::double precision, finished = CASE WHEN final THEN moment END,
        failures = failures + (said->>'failed')::boolean::integer, owner = NULL,
        logged = coalesce((said->>'logged')::bigint, logged),
        progress_done = coalesce((said->>'done')::double precision, progress_done),
        progress_total = CASE WHEN said ? 'done' THEN (said->>'total')::double precision ELSE progress_total END,
        recorded = CASE WHEN final THEN attempt ELSE recorded END
    WHERE id = job.id;
    IF job.cancel IS NOT NULL THEN -- it has ended: there is nothing left to stop
        DELETE FROM notices WHERE owner = by_owner AND notices.job = (said->>'id')::bigint;
    END IF;
    IF NOT final THEN
        RETURN jsonb_build_object('run', job.run);
    END IF;
    PERFORM tell_of_end(job.sender, by_owner);
    IF job.schedule IS NOT NULL THEN
        PERFORM need_alone();
        PERFORM begin_delay(job.schedule, job.id, NULL, moment);
    END IF;
    RETURN settle(job.id, job.name, job.run, said->>'status', moment, by_owner);
END $$;

-- Makes a running job pending again, one failure older, unless it was cancelled; returns whether it is.
CREATE OR REPLACE FUNCTION retry(said jsonb, by_owner bigint, its_due double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM keep_report(said, by_owner);
    UPDATE jobs SET
        state = 'pending', owner = NULL, due = its_due, failures = failures + 1, error = said->>'error',
        trace = said->>'trace', log = said->>'log', seconds = (said->>'seconds')::double precision, recorded = attempt
    WHERE id = (said->>'id')::bigint AND attempt = (said->>'attempt')::bigint AND owner = by_owner
        AND state = 'running' AND cancel IS NULL;
    IF FOUND THEN
        PERFORM tell_of_work();
    END IF;
    RETURN FOUND;
END $$;

-- Keeps what a running attempt shows of itself.
CREATE OR REPLACE FUNCTION keep_report(said jsonb, by_owner bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE jobs SET
        log = said->>'log', logged = (said->>'logged')::bigint, progress_done = (said->>'done')::double precision,
        progress_total = (said->>'total')::double precision
    WHERE id = (said->>'id')::bigint AND attempt = (said->>'attempt')::bigint AND owner = by_owner AND state = 'running'
        AND (said->>'logged' <> '0' OR said->>'done' IS NOT NULL)
$$;

-- Makes jobs of these attempts pending again, as if they had not been taken: pairs of a number and an attempt. Returns
-- the numbers of those that were not cancelled meanwhile. The limits get back what time has not made up for since.
CREATE OR REPLACE FUNCTION give_back(attempts jsonb, by_owner bigint, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    given jsonb;
    places jsonb;
    one record;
BEGIN
    WITH back AS (
        UPDATE jobs SET state = 'pending', owner = NULL, attempt = attempt - 1
        FROM jsonb_array_elements(attempts) AS said
        WHERE id = (said->>0)::bigint AND attempt = (said->>1)::bigint AND owner = by_owner AND state = 'running'
            AND cancel IS NULL
        RETURNING id, queue, handler, started)
    SELECT coalesce(jsonb_agg(id), '[]'), coalesce(jsonb_agg(jsonb_build_array(queue, handler, started)), '[]')
    INTO given, places FROM back;
    FOR one IN SELECT kind, name, per / number AS step FROM limits WHERE number IS NOT NULL ORDER BY kind, name FOR UPDATE LOOP
        UPDATE limits SET whole_at = whole_at - (
            SELECT coalesce(sum(greatest(0, one.step - greatest(0, moment - (place->>2)::double precision))), 0)
            FROM jsonb_array_elements(places) AS place
            WHERE kind = 'all' OR (kind = 'queue' AND name = place->>0)
                OR (kind = 'handler' AND name = coalesce(place->>1, '')))
        WHERE kind = one.kind AND name = one.name;
    END LOOP;
    PERFORM tell_of_work();
    RETURN given;
END $$;
