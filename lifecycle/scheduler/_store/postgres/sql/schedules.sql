-- Schedules: each due time becomes one job or run, in the transaction that moves the schedule on.
--
-- When one is due is reckoned outside: the rules of cron are not in the database. What follows from it is decided here, by
-- whoever comes first. There is no leader: any scheduler that knows what to run may fire what is due, and a firing counts
-- only of the schedule as it was seen, so that the second finds that it has moved on.
--
-- schedules.job is what `put_job`, or `admit_run`, takes: so what is run is what the schedule says when it is run.

-- Stores a schedule, or changes the one of this name; its due times stay unless its timing has changed.
--
-- new: its columns; anchor and next_due are those of one that begins now.
CREATE OR REPLACE FUNCTION put_schedule(new jsonb, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    said schedules := jsonb_populate_record(NULL::schedules, new);
    old schedules;
BEGIN
    PERFORM need_alone();
    SELECT * INTO old FROM schedules WHERE name = said.name;
    IF old.id IS NULL THEN
        INSERT INTO schedules (name, kind, rule, missed, handler, job, anchor)
        VALUES (said.name, said.kind, said.rule, said.missed, said.handler, said.job, said.anchor);
    END IF;
    UPDATE schedules SET
        kind = said.kind, rule = said.rule, timezone = said.timezone, missed = said.missed,
        misfire_grace = said.misfire_grace, handler = said.handler, job = said.job,
        max_instances = said.max_instances, overlap = said.overlap, jitter = said.jitter, starts = said.starts,
        ends = said.ends
    WHERE name = said.name;
    IF old.id IS NULL OR (old.kind, old.rule, old.timezone, old.starts, old.ends)
            IS DISTINCT FROM (said.kind, said.rule, said.timezone, said.starts, said.ends) THEN
        UPDATE schedules SET anchor = said.anchor, next_due = said.next_due, waiting = NULL WHERE name = said.name;
    END IF;
    PERFORM pg_notify('lifecycle', 'schedule');
    RETURN schedule_records(said.name)->0;
END $$;

-- The schedule of a name, or all of them by name, as arrays of what is shown.
CREATE OR REPLACE FUNCTION schedule_records(its_name text DEFAULT NULL) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = lifecycle, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(
        name, kind, rule, timezone, missed, misfire_grace, paused, next_due, last_due, last_job, runs, missed_runs,
        job->>'flow', last_run, CASE WHEN NOT job ? 'flow' THEN handler END,
        max_instances, overlap, jitter, starts, ends, waiting, skipped_runs) ORDER BY name COLLATE "C"), '[]')
    FROM schedules WHERE its_name IS NULL OR name = its_name
$$;

-- Removes a schedule; its jobs stay. Returns whether there was one.
CREATE OR REPLACE FUNCTION remove_schedule(its_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    DELETE FROM schedules WHERE name = its_name;
    RETURN FOUND;
END $$;

-- Pauses a schedule until it is resumed; returns whether there is one.
CREATE OR REPLACE FUNCTION pause_schedule(its_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE schedules SET paused = true WHERE name = its_name;
    RETURN FOUND;
END $$;

-- Ends a pause; what was due meanwhile is not made up for: then *due* is its first due time from now on. Returns whether
-- there is such a schedule.
CREATE OR REPLACE FUNCTION resume_schedule(its_name text, due double precision, moment double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE schedules SET paused = false, next_due = CASE WHEN paused AND next_due <= moment THEN due ELSE next_due END
    WHERE name = its_name;
    IF FOUND THEN
        PERFORM pg_notify('lifecycle', 'schedule');
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Changes how many of a schedule's runs go on at once; returns whether there is one.
CREATE OR REPLACE FUNCTION bound_schedule(its_name text, most integer, its_overlap text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE schedules SET max_instances = most, overlap = its_overlap WHERE name = its_name;
    IF FOUND THEN
        PERFORM pg_notify('lifecycle', 'schedule'); -- one that waits may have room now
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Asks a scheduler that knows the schedule for a run, as soon as it looks; returns whether there is one.
CREATE OR REPLACE FUNCTION request_run(its_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE schedules SET triggered = triggered + 1 WHERE name = its_name;
    IF FOUND THEN
        PERFORM pg_notify('lifecycle', 'schedule');
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Submits a run now, besides those that are due; returns what was submitted, or what is in its way. NULL when there is no
-- such schedule, or its flow is not among those with the keys *flows*.
--
-- said: its *name*, and *flows*.
CREATE OR REPLACE FUNCTION trigger_schedule(said jsonb, by_owner bigint, moment double precision) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    schedule schedules;
BEGIN
    PERFORM need_alone();
    SELECT * INTO schedule FROM schedules WHERE name = said->>'name';
    IF schedule.id IS NULL OR (schedule.job ? 'flow' AND NOT coalesce(said->'flows' ? schedule.handler, false)) THEN
        RETURN NULL;
    END IF;
    RETURN submit_scheduled(schedule, NULL, 0, by_owner, moment);
END $$;

-- What of schedules a scheduler may do now that it knows: those that are due, those of which a run was asked for, and those
-- of which one waits for which there is room; a hundred at most. With that, when the next is due, and whether there is any.
--
-- unreadable: what it cannot tell the due times of, each with the timing that it could not read: number, kind, rule, zone.
CREATE OR REPLACE FUNCTION look_at_schedules(names text[], unreadable jsonb, moment double precision) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = lifecycle, pg_temp AS $$
    WITH known AS MATERIALIZED (
        SELECT id, schedules.xmin::text AS seen, triggered > 0 AS asked,
            (NOT paused AND next_due <= moment AND readable) IS TRUE AS is_due,
            waiting IS NOT NULL AND NOT paused AND may_go_on(schedules) AS has_room,
            name, kind, rule, timezone, missed, misfire_grace, max_instances, overlap, jitter, starts, ends, anchor,
            next_due, waiting,
            CASE WHEN NOT paused AND readable THEN next_due END AS coming
        FROM schedules CROSS JOIN LATERAL (
            SELECT NOT EXISTS (
                SELECT 1 FROM jsonb_array_elements(unreadable) AS one
                WHERE (one->>0)::bigint = schedules.id AND one->>1 = kind AND one->>2 = rule
                    AND one->>3 IS NOT DISTINCT FROM timezone) AS readable) AS can
        WHERE handler = ANY(names)
    ), found AS (
        SELECT * FROM known WHERE asked OR is_due OR has_room ORDER BY asked DESC, is_due DESC, next_due, id LIMIT 100
    )
    SELECT jsonb_build_object(
        'found', (SELECT coalesce(jsonb_agg(to_jsonb(found)), '[]') FROM found),
        'next_due', (SELECT min(coming) FROM known),
        'any_known', EXISTS (SELECT 1 FROM known))
$$;

-- Runs what there is to run of one schedule. Returns null when it is not any more as it was seen: then nothing was done.
-- Else it returns how many runs were submitted, and of each that was skipped the bound because of which it was.
--
-- was_due: its due time, which has passed; NULL when that is not why it is fired.
-- firing: *seen*, which version of it was seen; *runs*, the due times to run, *next_due* and *missed*, when it is due;
--   *later*, of due times how many seconds later they start, in pairs: its jitter.
CREATE OR REPLACE FUNCTION fire(
    of_schedule bigint, was_due double precision, firing jsonb, by_owner bigint, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    schedule schedules;
    its_due double precision;
    placed boolean;
    coming double precision := (firing->>'next_due')::double precision;
    many integer := 0;
    skips jsonb := '[]';
    done jsonb;
BEGIN
    PERFORM need_alone();
    SELECT * INTO schedule FROM schedules WHERE id = of_schedule AND xmin::text = firing->>'seen' FOR UPDATE;
    IF schedule.id IS NULL OR (was_due IS NOT NULL AND (schedule.paused OR schedule.next_due IS DISTINCT FROM was_due)) THEN
        RETURN NULL;
    END IF;
    FOR i IN 1..least(schedule.triggered, 100) LOOP -- a pause does not hold that up
        done := submit_scheduled(schedule, NULL, 0, by_owner, moment);
        IF done ? 'conflict' THEN
            skips := skips || jsonb_build_array(schedule.job->'bound');
        ELSE
            many := many + 1;
        END IF;
    END LOOP;
    UPDATE schedules SET triggered = triggered - least(triggered, 100),
        missed_runs = missed_runs + CASE WHEN was_due IS NULL THEN 0 ELSE coalesce((firing->>'missed')::bigint, 0) END
    WHERE id = of_schedule;
    IF was_due IS NOT NULL THEN
        FOR its_due IN SELECT value::double precision FROM jsonb_array_elements_text(firing->'runs') LOOP
            placed := false;
            IF NOT was_run(of_schedule, its_due) THEN -- a clock that has been ahead for a moment shows an instant twice
                done := place_run(of_schedule, its_due, firing->'later', by_owner, moment);
                placed := (done->>'placed')::boolean;
                many := many + (done->>'many')::integer;
                skips := skips || (done->'skips');
            END IF;
            IF NOT placed AND schedule.kind = 'fixed_delay' THEN
                coming := moment + schedule.rule::double precision;
                coming := CASE WHEN coming > schedule.ends THEN NULL ELSE coming END;
            END IF;
        END LOOP;
        UPDATE schedules SET next_due = coming WHERE id = of_schedule;
    END IF;
    SELECT * INTO schedule FROM schedules WHERE id = of_schedule;
    IF schedule.waiting IS NOT NULL AND NOT schedule.paused AND may_go_on(schedule) THEN
        done := run_waiting(schedule, firing->'later', by_owner, moment);
        many := many + (done->>'many')::integer;
        skips := skips || (done->'skips');
    END IF;
    UPDATE schedules SET skipped_runs = skipped_runs + jsonb_array_length(skips) WHERE id = of_schedule;
    RETURN jsonb_build_object('submitted', many, 'skipped', skips);
END $$;

-- Submits the run for a due time, after the one that waits already, or lets it wait, or skips it: others have not ended.
CREATE OR REPLACE FUNCTION place_run(
    of_schedule bigint, its_due double precision, later jsonb, by_owner bigint, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    schedule schedules;
    going bigint[];
    ending integer;
    oldest bigint;
    has_room boolean;
    before jsonb := '{"many": 0, "skips": []}';
    done jsonb;
BEGIN
    SELECT * INTO schedule FROM schedules WHERE id = of_schedule;
    IF schedule.waiting = its_due THEN
        RETURN before || '{"placed": false}';
    END IF;
    going := unfinished_of(schedule);
    has_room := schedule.max_instances IS NULL OR cardinality(going) < schedule.max_instances;
    IF schedule.waiting IS NOT NULL AND schedule.overlap = 'queue' AND has_room THEN
        before := run_waiting(schedule, later, by_owner, moment);
        schedule.waiting := NULL;
        has_room := schedule.max_instances IS NULL
            OR cardinality(unfinished_of(schedule)) < schedule.max_instances;
    END IF;
    IF has_room AND schedule.waiting IS NULL THEN
        done := run_due(schedule, its_due, later, by_owner, moment);
        RETURN jsonb_build_object(
            'placed', done->'many' = '1', 'many', (before->>'many')::integer + (done->>'many')::integer,
            'skips', (before->'skips') || (done->'skips'));
    END IF;
    IF NOT has_room AND schedule.overlap = 'cancel_running' THEN
        -- One that was cancelled already is about to go: once is enough, a second request would end what cleans up
        -- after it.
        ending := cardinality(going) - cardinality(unfinished_of(schedule, true));
        FOR oldest IN
            SELECT one FROM unnest(unfinished_of(schedule, true)) WITH ORDINALITY AS w(one, place) ORDER BY place
            LIMIT greatest(0, cardinality(going) + 1 - schedule.max_instances - ending)
        LOOP
            IF schedule.job ? 'flow' THEN
                PERFORM cancel_run(oldest, 'its schedule was due again', moment, NULL);
            ELSE
                PERFORM cancel(oldest, 'its schedule was due again', moment, NULL);
            END IF;
        END LOOP;
    END IF;
    IF coalesce(schedule.overlap, 'skip') = 'skip' OR schedule.waiting IS NOT NULL THEN
        before := jsonb_set(before, '{skips}', (before->'skips') || jsonb_build_array(
            jsonb_build_array(schedule.max_instances, coalesce(schedule.overlap, 'skip'))));
    END IF;
    UPDATE schedules SET waiting = CASE
        WHEN coalesce(schedule.overlap, 'skip') = 'skip' THEN schedule.waiting
        WHEN schedule.waiting IS NULL OR schedule.overlap = 'cancel_running' THEN its_due ELSE schedule.waiting END
    WHERE id = of_schedule;
    RETURN before || '{"placed": false}';
END $$;

-- Submits the run that has waited until others had ended.
CREATE OR REPLACE FUNCTION run_waiting(schedule schedules, later jsonb, by_owner bigint, moment double precision)
RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    UPDATE schedules SET waiting = NULL WHERE id = schedule.id;
    RETURN run_due(schedule, schedule.waiting, later, by_owner, moment);
END $$;

-- Submits a run for a due time, unless its flow neither lets it begin, nor wait: one of each schedule waits at most.
-- Returns how many were submitted, one or none, and why it was skipped.
CREATE OR REPLACE FUNCTION run_due(
    schedule schedules, its_due double precision, later jsonb, by_owner bigint, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    done jsonb;
    seconds double precision := coalesce(
        (SELECT (pair->>1)::double precision FROM jsonb_array_elements(later) AS pair
         WHERE (pair->>0)::double precision = its_due LIMIT 1), 0);
BEGIN
    IF schedule.job->'bound'->>1 = 'queue' AND EXISTS ( -- it is not to be replaced by the next
        SELECT 1 FROM runs WHERE runs.schedule = run_due.schedule.id AND finished IS NULL AND held
    ) THEN
        done := '{"conflict": true}';
    ELSE
        done := submit_scheduled(schedule, its_due, seconds, by_owner, moment);
    END IF;
    IF done ? 'conflict' THEN
        RETURN jsonb_build_object('many', 0, 'skips', jsonb_build_array(schedule.job->'bound'));
    END IF;
    UPDATE schedules SET last_due = its_due, last_job = coalesce((done->>'job')::bigint, last_job),
        last_run = coalesce((done->>'run')::bigint, last_run), runs = runs + 1
    WHERE id = schedule.id;
    RETURN '{"many": 1, "skips": []}';
END $$;

-- Submits a run for a due time, NULL for one that somebody has asked for; it counts among the schedule's.
CREATE OR REPLACE FUNCTION submit_scheduled(
    schedule schedules, its_due double precision, seconds double precision, by_owner bigint, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    work jsonb := starting_later(schedule.job, seconds);
    opened jsonb;
    number bigint;
BEGIN
    IF work ? 'flow' THEN
        opened := admit_run(work, by_owner, moment);
        number := (opened->>'run')::bigint;
        UPDATE runs SET schedule = submit_scheduled.schedule.id, scheduled = its_due WHERE id = number;
        RETURN opened;
    END IF;
    number := put_job(work, NULL, coalesce(work->>'handler', ''), 0, by_owner, moment);
    UPDATE jobs SET schedule = submit_scheduled.schedule.id, scheduled = its_due WHERE id = number;
    RETURN jsonb_build_object('job', number);
END $$;

-- What to submit, so many seconds later. After a delay, not at a time of day: when the clock is set back, it does not wait
-- until that shows the time again.
CREATE OR REPLACE FUNCTION starting_later(work jsonb, seconds double precision) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN seconds <= 0 THEN work
        WHEN NOT work ? 'flow' THEN
            work || jsonb_build_object('delay', coalesce((work->>'delay')::double precision, 0) + seconds)
        ELSE work || jsonb_build_object('jobs', (
            SELECT jsonb_agg(CASE WHEN jsonb_array_length(coalesce(job->'needs', '[]')) > 0 THEN job
                ELSE job || jsonb_build_object('delay', coalesce((job->>'delay')::double precision, 0) + seconds) END
                ORDER BY place)
            FROM jsonb_array_elements(work->'jobs') WITH ORDINALITY AS jobs(job, place))) END
$$;

-- Whether there is a job or a run of a schedule for a due time.
CREATE OR REPLACE FUNCTION was_run(of_schedule bigint, its_due double precision) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM jobs WHERE schedule = of_schedule AND scheduled = its_due)
        OR EXISTS (SELECT 1 FROM runs WHERE schedule = of_schedule AND scheduled = its_due)
$$;

-- What a schedule has submitted and has not ended, the oldest first; also without what was cancelled.
CREATE OR REPLACE FUNCTION unfinished_of(its schedules, uncancelled boolean DEFAULT false) RETURNS bigint[]
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN its.max_instances IS NULL THEN '{}'::bigint[]
        WHEN its.job ? 'flow' THEN ARRAY(
            SELECT id FROM runs WHERE schedule = its.id AND finished IS NULL AND NOT (uncancelled AND cancel IS NOT NULL)
            ORDER BY id)
        ELSE ARRAY(
            SELECT id FROM jobs WHERE schedule = its.id AND finished IS NULL AND NOT (uncancelled AND cancel IS NOT NULL)
            ORDER BY id) END
$$;

-- Whether there is room for what has waited, also beside what the schedule submitted when it called something else.
CREATE OR REPLACE FUNCTION may_go_on(its schedules) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT its.max_instances IS NULL OR its.max_instances > greatest(
        (SELECT count(*) FROM jobs WHERE schedule = its.id AND finished IS NULL),
        (SELECT count(*) FROM runs WHERE schedule = its.id AND finished IS NULL))
$$;
