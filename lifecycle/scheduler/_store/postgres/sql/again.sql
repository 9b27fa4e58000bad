-- Again by hand: jobs that have ended wait once more, and with them what was skipped because of them. Steps that run
-- anyway, on failure or always, run once more after what they need has: the first time they have put in order what is now
-- done again.
--
-- The attempts go on counting, so that one which was lost cannot end the new one; the allowance of failures begins anew.
-- What an attempt left, its error and its log, stays until the next one has ended; a note of it stays for good.

-- Lets jobs wait again that have ended, where nothing speaks against it.
--
-- force: also those that have succeeded.
-- known: the names of the handlers and the keys of the flows that the scheduler knows which asks; NULL for none.
--
-- Goes from the jobs that are wanted down to those that need them, one level after the other. A job waits again as soon as
-- nothing that it needs has ended badly any more.
CREATE OR REPLACE FUNCTION revive_jobs(
    wanted bigint[], force boolean, known text[], by_owner bigint, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    asked bigint[] := ARRAY(
        SELECT id FROM unnest(wanted) WITH ORDINALITY AS w(id, place) GROUP BY id ORDER BY min(place));
    refused jsonb;
    eligible bigint[];
    wave bigint[];
    below bigint[];
    twins jsonb;
    again bigint[] := '{}';
    one bigint;
BEGIN
    PERFORM need_alone();
    refused := refused_again(asked, force);
    eligible := ARRAY(
        SELECT id FROM unnest(asked) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id)
        WHERE NOT refused ? id::text ORDER BY place);
    IF force THEN -- what has been deleted is not needed any more
        DELETE FROM needs WHERE job = ANY(eligible) AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = needed);
    END IF;
    wave := ARRAY(SELECT id FROM unnest(eligible) WITH ORDINALITY AS w(id, place) WHERE NOT held_up(id) ORDER BY place);
    WHILE cardinality(wave) > 0 LOOP
        twins := twins_of(wave);
        IF twins <> '{}' THEN
            refused := refused || twins;
            wave := ARRAY(
                SELECT id FROM unnest(wave) WITH ORDINALITY AS w(id, place) WHERE NOT twins ? id::text ORDER BY place);
        END IF;
        IF by_owner IS NOT NULL THEN -- runs that go on, and that nobody has
            FOR one IN
                SELECT DISTINCT runs.id FROM jobs JOIN runs ON runs.id = jobs.run
                WHERE jobs.id = ANY(wave) AND runs.owner IS NULL AND runs.finished IS NULL AND runs.doer = ANY(known)
            LOOP
                PERFORM adopt_run(one, by_owner, NULL, moment);
            END LOOP;
        END IF;
        below := below_of(wave, eligible); -- before they are changed: it depends on how they had ended
        UPDATE jobs SET
            state = 'pending', owner = NULL, sender = coalesce(by_owner, sender),
            history = with_note(history, moment, state, attempt, error), cancel = NULL, due = 0, finished = NULL,
            failures = 0, crashes = 0, expires = NULL, skipped = false, result = NULL, progress_done = NULL,
            progress_total = NULL, error = CASE WHEN attempt > 0 THEN error END
        WHERE id = ANY(wave);
        again := again || wave;
        wave := ARRAY(
            SELECT id FROM unnest(below) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id)
            WHERE when_ IS NOT NULL OR NOT held_up(id) ORDER BY place);
    END LOOP;
    refused := refused || (
        SELECT coalesce(jsonb_object_agg(id, held_up_by(id)), '{}')
        FROM (SELECT unnest(eligible) AS id EXCEPT SELECT unnest(again)) AS others WHERE NOT refused ? id::text);
    PERFORM open_again(again, known, by_owner, moment);
    IF cardinality(again) > 0 THEN
        PERFORM tell_of_work();
    END IF;
    RETURN jsonb_build_object(
        'jobs', ARRAY(
            SELECT id FROM unnest(asked) WITH ORDINALITY AS w(id, place) JOIN unnest(again) AS done(id) USING (id)
            ORDER BY place),
        'skipped', (SELECT count(*) FROM (SELECT unnest(again) EXCEPT SELECT unnest(eligible)) AS others),
        'missing', ARRAY(
            SELECT id FROM unnest(asked) WITH ORDINALITY AS w(id, place)
            WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = w.id) ORDER BY place),
        'refused', refused,
        'ours', ARRAY(
            SELECT id FROM unnest(again) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id)
            WHERE by_owner IS NOT NULL AND (
                doer = ANY(known) OR EXISTS (SELECT 1 FROM runs WHERE runs.id = jobs.run AND runs.owner = by_owner))
            ORDER BY place));
END $$;

-- Lets all jobs of a run wait again that have ended and did not succeed; NULL when there is no such run. An unfinished run
-- that nobody has is taken over as well by a scheduler that knows its flow.
CREATE OR REPLACE FUNCTION revive_run(of_run bigint, known text[], by_owner bigint, moment double precision)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    run runs;
BEGIN
    PERFORM need_alone();
    SELECT * INTO run FROM runs WHERE id = of_run;
    IF run.id IS NULL THEN
        RETURN NULL;
    END IF;
    IF run.owner IS NULL AND run.finished IS NULL THEN
        IF by_owner IS NOT NULL AND run.doer = ANY(known) THEN
            PERFORM adopt_run(of_run, by_owner, NULL, moment);
        END IF;
        PERFORM tell_of_work();
    END IF;
    RETURN revive_jobs(
        ARRAY(SELECT id FROM jobs WHERE jobs.run = of_run AND state IN ('failed', 'timed_out', 'cancelled') ORDER BY id),
        false, known, by_owner, moment);
END $$;

-- How many runs of a flow go on at once, as its newest run says.
CREATE OR REPLACE FUNCTION bound_of(of_flow text, OUT max_instances integer, OUT overlap text) LANGUAGE sql STABLE AS $$
    SELECT max_instances, overlap FROM runs WHERE flow = of_flow ORDER BY id DESC LIMIT 1
$$;

-- Why jobs are not tried again, by number: they have not ended, or have succeeded; their runs may not be open beside others
-- of the flow, or have lost jobs; or a step below them runs now that cleans up after them.
CREATE OR REPLACE FUNCTION refused_again(asked bigint[], force boolean) RETURNS jsonb LANGUAGE sql STABLE AS $$
    WITH RECURSIVE above AS (
        SELECT needs.needed, needs.job AS step FROM jobs JOIN needs ON needs.job = jobs.id
        WHERE state = 'running' AND when_ IS NOT NULL
        UNION
        SELECT needs.needed, above.step FROM above JOIN needs ON needs.job = above.needed
    ), of_runs AS MATERIALIZED (
        SELECT runs.id, runs.jobs = (SELECT count(*) FROM jobs WHERE run = runs.id) AS whole,
            CASE WHEN finished IS NOT NULL
                THEN refused_beside(runs.flow, bound.max_instances, bound.overlap)->>'conflict' END AS beside
        FROM runs CROSS JOIN LATERAL bound_of(runs.flow) AS bound
        WHERE runs.id IN (SELECT run FROM jobs WHERE id = ANY(asked))
    )
    SELECT coalesce(jsonb_object_agg(id, why), '{}') FROM (
        SELECT jobs.id, CASE
            WHEN finished IS NULL THEN 'it has not ended: it is ' || state
            WHEN state = 'succeeded' AND NOT force THEN 'it has succeeded, and is only repeated when that is forced'
            WHEN beside IS NOT NULL THEN beside
            WHEN run IS NOT NULL AND NOT coalesce(whole, false)
                THEN 'jobs of its run have been deleted, which it may need; begin a new run'
            WHEN step IS NOT NULL THEN format(
                'the step %s, which runs when it has ended, is running; wait until that has ended',
                quoted((SELECT name FROM jobs AS running WHERE running.id = step)))
            END AS why
        FROM jobs LEFT JOIN of_runs ON of_runs.id = jobs.run
            LEFT JOIN (SELECT needed, min(step) AS step FROM above GROUP BY needed) AS steps ON steps.needed = jobs.id
        WHERE jobs.id = ANY(asked)) AS all_of_them
    WHERE why IS NOT NULL
$$;

-- Whether something has ended badly that a job needs to succeed; of what has been deleted only that is known any more.
CREATE OR REPLACE FUNCTION held_up(of_job bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM needs LEFT JOIN jobs ON jobs.id = needed
        WHERE job = of_job AND NOT tolerant AND (jobs.id IS NULL OR state IN ('failed', 'timed_out', 'cancelled')))
    AND (SELECT when_ IS NULL FROM jobs WHERE id = of_job)
$$;

CREATE OR REPLACE FUNCTION held_up_by(of_job bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        'it ' || skip_reason(name, state) || '; try that again too, or the whole run',
        'a job that it needs did not succeed, and has been deleted; it is only tried when that is forced')
    FROM needs LEFT JOIN jobs ON jobs.id = needed
    WHERE job = of_job AND NOT tolerant AND (jobs.id IS NULL OR state IN ('failed', 'timed_out', 'cancelled'))
    ORDER BY jobs.id NULLS FIRST LIMIT 1
$$;

-- Why some of these jobs do not wait again beside others with their keys, by number.
CREATE OR REPLACE FUNCTION twins_of(wave bigint[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_object_agg(id, format('job %s, which has the same key, has not ended', twin)), '{}') FROM (
        SELECT jobs.id, coalesce(
            (SELECT other.id FROM jobs AS other WHERE other.key = jobs.key AND other.finished IS NULL),
            nullif(first_value(jobs.id) OVER (PARTITION BY key ORDER BY place), jobs.id)) AS twin
        FROM unnest(wave) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id) WHERE key IS NOT NULL) AS with_keys
    WHERE twin IS NOT NULL
$$;

-- What needs these jobs, which are about to wait again, and may wait again after them: what runs anyway, what was skipped,
-- and what is wanted itself. Of a job that has succeeded nothing was skipped.
CREATE OR REPLACE FUNCTION below_of(wave bigint[], eligible bigint[]) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(id ORDER BY place, id), '{}') FROM (
        SELECT below.id, CASE WHEN below.when_ IS NULL THEN max(w.place) ELSE min(w.place) END AS place
        FROM unnest(wave) WITH ORDINALITY AS w(id, place) JOIN jobs AS above ON above.id = w.id
            JOIN needs ON needed = above.id JOIN jobs AS below ON below.id = needs.job
        WHERE below.finished IS NOT NULL AND below.id <> ALL(wave) AND (
            below.when_ IS NOT NULL
            OR (above.state <> 'succeeded' AND (below.skipped OR below.id = ANY(eligible))))
        GROUP BY below.id, below.when_) AS found
$$;

-- Opens the runs of jobs that wait again, and finds anew for how many of its needs a job waits.
CREATE OR REPLACE FUNCTION open_again(again bigint[], known text[], by_owner bigint, moment double precision) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    ended bigint[];
    number bigint;
    run runs;
    bound record;
    flows text[] := '{}';
BEGIN
    WITH counted AS (
        SELECT jobs.run, count(*) AS many, min(place) AS place
        FROM unnest(again) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id) WHERE jobs.run IS NOT NULL GROUP BY jobs.run
    ), changed AS (
        UPDATE runs SET unfinished = unfinished + many, cancel = NULL, status = NULL,
            owner = CASE
                WHEN EXISTS (SELECT 1 FROM owners WHERE owners.id = runs.owner) THEN owner
                WHEN doer = ANY(known) THEN by_owner END
        FROM counted WHERE runs.id = counted.run RETURNING runs.id, runs.finished, place)
    SELECT array_agg(id ORDER BY place) INTO ended FROM changed WHERE finished IS NOT NULL;
    -- Those that had ended are open as if they were new. All are counted before the first makes room: it may cancel others
    -- of them, with what waits again.
    FOREACH number IN ARRAY coalesce(ended, '{}') LOOP
        SELECT * INTO run FROM runs WHERE id = number;
        SELECT * INTO bound FROM bound_of(run.flow);
        IF bound.max_instances IS NOT NULL THEN
            PERFORM make_room(run.flow, bound.max_instances, bound.overlap, moment);
            flows := flows || run.flow;
        END IF;
        UPDATE runs SET finished = NULL, held = held OR bound.max_instances IS NOT NULL WHERE id = number;
    END LOOP;
    -- What waits again, and what waits for that; one that runs as well, because its needs are met: each end is counted,
    -- and it may have to wait once more itself.
    UPDATE jobs SET
        unmet = found.unmet + coalesce((SELECT held FROM runs WHERE runs.id = jobs.run), false)::integer,
        trouble = found.trouble, blocked = found.blocked
    FROM (
        SELECT unnest(again) AS id UNION SELECT needs.job FROM unnest(again) AS w(id) JOIN needs ON needed = w.id
    ) AS those JOIN jobs AS below ON below.id = those.id CROSS JOIN LATERAL (
        SELECT count(above.id) FILTER (WHERE above.finished IS NULL) AS unmet,
            coalesce(bool_or(
                above.finished IS NOT NULL AND (above.trouble OR above.state IN ('failed', 'timed_out', 'cancelled'))
                AND (below.run IS NOT NULL OR NOT tolerant)), false) AS trouble,
            (array_agg(coalesce(
                    skip_reason(above.name, above.state), 'needs job ' || needed || ', which did not succeed')
                ORDER BY needed) FILTER (
                WHERE NOT tolerant AND (above.id IS NULL OR above.state IN ('failed', 'timed_out', 'cancelled'))))[1]
                AS blocked
        FROM needs LEFT JOIN jobs AS above ON above.id = needed WHERE needs.job = below.id) AS found
    WHERE jobs.id = below.id AND below.finished IS NULL;
    PERFORM let_in(flow, moment) FROM (SELECT DISTINCT unnest(flows) AS flow ORDER BY flow) AS its;
END $$;

-- The notes on a job with one more, the newest twenty: that it waits again, and what it had come to.
CREATE OR REPLACE FUNCTION with_note(notes text, moment double precision, state text, attempt bigint, error text)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    longest CONSTANT integer := 300;
    line text := to_char(to_timestamp(moment) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') || ' again by hand; it '
        || CASE WHEN state IN ('cancelled', 'skipped') THEN 'was ' ELSE 'had ' END || replace(state, '_', ' ')
        || CASE WHEN attempt > 0 THEN ' in attempt ' || attempt ELSE ' before it began' END
        || CASE WHEN error <> '' THEN ': ' || error ELSE '' END;
    lines text[] := string_to_array(nullif(notes, ''), E'\n');
BEGIN
    IF length(line) > longest THEN -- without its middle
        line := left(line, (longest - 3) / 2) || '...' || right(line, longest - 3 - (longest - 3) / 2);
    END IF;
    RETURN array_to_string(lines[greatest(1, cardinality(lines) - 18):] || one_line(line), E'\n');
END $$;

-- A text with everything that would end or garble its line written as an escape.
CREATE OR REPLACE FUNCTION one_line(whole text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN whole ~ '^[ -~]*$' THEN whole ELSE (
        SELECT string_agg(CASE
            WHEN code BETWEEN 32 AND 126 THEN sign
            WHEN sign = E'\n' THEN '\n' WHEN sign = E'\r' THEN '\r' WHEN sign = E'\t' THEN '\t'
            WHEN code < 161 OR code = 173 THEN '\x' || lpad(to_hex(code), 2, '0')
            WHEN code BETWEEN 8192 AND 8207 OR code BETWEEN 8232 AND 8239 OR code BETWEEN 8287 AND 8303
                OR code IN (5760, 12288, 65279) OR code BETWEEN 57344 AND 63743 OR code BETWEEN 65529 AND 65531
                THEN '\u' || lpad(to_hex(code), 4, '0')
            ELSE sign END, '' ORDER BY place)
        FROM regexp_split_to_table(whole, '') WITH ORDINALITY AS signs(sign, place)
            CROSS JOIN LATERAL ascii(sign) AS code) END
$$;
