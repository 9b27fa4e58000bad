-- How runs of flows get in: beside others of their flow, after them, in their place, or not at all; or as the unfinished
-- one that is continued.

-- Takes over the unfinished run of the same flow and parameters, or stores a new one.
CREATE OR REPLACE FUNCTION open_run(new jsonb, resume boolean, fresh boolean, by_owner bigint, max_crashes integer, moment double precision)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    old runs;
    who owners;
BEGIN
    IF resume OR fresh THEN
        -- Nobody else opens such a run in the same moment.
        PERFORM pg_advisory_xact_lock(78118879, hashtext(new->>'flow' || E'\n' || (new->>'params')));
        SELECT * INTO old FROM runs WHERE flow = new->>'flow' AND params = new->>'params' AND finished IS NULL
        ORDER BY owner IS NOT NULL, id DESC LIMIT 1;
    END IF;
    IF old.id IS NOT NULL THEN
        PERFORM need_alone();
        IF old.owner IS NOT NULL THEN
            IF new->'bound'->>0 IS NULL THEN
                SELECT * INTO who FROM owners WHERE id = old.owner;
                RETURN jsonb_build_object('conflict', format(
                    '%s: run %s of %s with these parameters is being run by %s; wait for it or stop it',
                    new->>'source', old.id, quoted(old.flow),
                    CASE WHEN who.id IS NULL THEN 'another process' ELSE format('process %s on %s', who.pid, who.host) END));
            END IF;
        ELSIF fresh THEN
            PERFORM cancel_run(old.id, 'a fresh run was begun', moment, by_owner, true);
        ELSIF old.digest <> new->>'digest' THEN
            RETURN jsonb_build_object('flow_changed', true, 'conflict', format(
                '%s: the flow has changed since its unfinished run %s began; finish that run with the flow as it was, '
                'or submit with fresh=True, which cancels what is left of it', new->>'source', old.id));
        ELSE
            RETURN adopt_run(old.id, by_owner, max_crashes, moment);
        END IF;
    END IF;
    RETURN admit_run(new, by_owner, moment);
END $$;

-- Stores a new run, unless as many of its flow go on as may; it may wait for those, or take the place of the oldest.
CREATE OR REPLACE FUNCTION admit_run(new jsonb, by_owner bigint, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    opened jsonb;
    refused jsonb;
BEGIN
    IF new->'bound'->>0 IS NULL THEN
        opened := insert_run(new, false, by_owner, moment);
        PERFORM let_in(new->>'flow', moment); -- those that have waited, when there was a bound
        RETURN opened;
    END IF;
    PERFORM need_alone();
    refused := refused_beside(new->>'flow', (new->'bound'->>0)::integer, new->'bound'->>1);
    IF refused IS NOT NULL THEN
        RETURN refused || jsonb_build_object('conflict', (new->>'source') || ': ' || (refused->>'conflict'));
    END IF;
    PERFORM make_room(new->>'flow', (new->'bound'->>0)::integer, new->'bound'->>1, moment);
    opened := insert_run(new, true, by_owner, moment);
    PERFORM let_in(new->>'flow', moment); -- in their turn: there may be more room than there was
    RETURN opened || jsonb_build_object('waits', (SELECT held FROM runs WHERE id = (opened->>'run')::bigint));
END $$;

-- Why one more run of a flow is not begun, and which are in its way; NULL when it begins, or waits.
CREATE OR REPLACE FUNCTION refused_beside(of_flow text, most integer, its_overlap text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    others bigint[];
BEGIN
    SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO others
    FROM runs WHERE flow = of_flow AND NOT held AND finished IS NULL;
    IF coalesce(its_overlap, 'skip') <> 'skip' OR most IS NULL OR cardinality(others) < most THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('runs', to_jsonb(others), 'conflict', CASE WHEN cardinality(others) = 1
        THEN format('run %s of flow %s goes on, and its max_instances is %s; wait for it, or cancel it',
            others[1], quoted(of_flow), most)
        ELSE format('%s runs of flow %s go on, and its max_instances is %s; wait for one of them, or cancel it',
            cardinality(others), quoted(of_flow), most) END);
END $$;

-- Cancels what one more run of a flow replaces: those that wait, and so many of the oldest as have to end for it.
CREATE OR REPLACE FUNCTION make_room(of_flow text, most integer, its_overlap text, moment double precision) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    one bigint;
    surplus bigint;
BEGIN
    IF its_overlap IS DISTINCT FROM 'cancel_running' OR most IS NULL THEN
        RETURN;
    END IF;
    -- One that was cancelled already is about to go: once is enough, a second request would end what cleans up after it.
    SELECT count(*) + 1 - most - count(cancel) INTO surplus
    FROM runs WHERE flow = of_flow AND NOT held AND finished IS NULL;
    FOR one IN
        SELECT id FROM (
            SELECT id, 0 AS kind FROM runs WHERE flow = of_flow AND held AND finished IS NULL
            UNION ALL (
                SELECT id, 1 FROM runs WHERE flow = of_flow AND NOT held AND finished IS NULL AND cancel IS NULL
                ORDER BY id LIMIT greatest(surplus, 0))) AS replaced
        ORDER BY kind, id
    LOOP
        PERFORM cancel_run(one, 'replaced by a newer run of its flow', moment, NULL);
    END LOOP;
END $$;

-- Stores a new run with all its jobs; one that is held waits until it is let in.
CREATE OR REPLACE FUNCTION insert_run(new jsonb, is_held boolean, by_owner bigint, moment double precision) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    many integer := jsonb_array_length(new->'jobs');
BEGIN
    INSERT INTO runs (
        flow, source, digest, doer, params, owner, jobs, unfinished, created, max_instances, overlap, held)
    VALUES (
        new->>'flow', new->>'source', new->>'digest', new->>'doer', new->>'params', by_owner, many, many, moment,
        (new->'bound'->>0)::integer, coalesce(new->'bound'->>1, 'skip'), is_held)
    RETURNING id INTO number;
    INSERT INTO jobs (
        run, name, kind, state, doer, handler, queue, sender, priority, unmet, delay, due, at, expires, retries,
        backoff_first, backoff_longest, timeout, payload, metadata, when_, created)
    SELECT number, name, kind, 'pending', new->>'doer', handler, queue, by_owner, priority, waits, coalesce(delay, 0),
        CASE WHEN at > moment THEN at WHEN delay > 0 AND waits = 0 THEN moment + delay ELSE 0 END, at,
        coalesce(moment + lifetime, expires), retries, (backoff->>0)::double precision, (backoff->>1)::double precision,
        timeout, payload, metadata, "when", moment
    FROM (
        SELECT said.*, jsonb_array_length(coalesce(needs, '[]')) + is_held::integer AS waits
        FROM ROWS FROM (jsonb_to_recordset(new->'jobs') AS (
            name text, kind text, handler text, queue text, priority bigint, delay double precision, at double precision,
            expires double precision, lifetime double precision, retries bigint, backoff jsonb,
            timeout double precision, payload text, metadata text, "when" text, needs jsonb
        )) WITH ORDINALITY AS said) AS said
    ORDER BY ordinality;
    INSERT INTO needs (needed, job, tolerant)
    SELECT above.id, below.id, coalesce(said->'tolerates' ? above.name, false)
    FROM jsonb_array_elements(new->'jobs') AS said
        CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(said->'needs', '[]')) AS need
        JOIN jobs AS above ON above.run = number AND above.name = need
        JOIN jobs AS below ON below.run = number AND below.name = said->>'name';
    PERFORM tell_of_work();
    RETURN jsonb_build_object('run', number, 'resumed', false, 'jobs', many, 'unfinished', many, 'waits', false);
END $$;

-- Gives a run to a scheduler, whose handle gets its outcome; what has crashed its process too often fails instead.
CREATE OR REPLACE FUNCTION adopt_run(of_run bigint, by_owner bigint, max_crashes integer, moment double precision) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    run runs;
BEGIN
    PERFORM need_alone();
    PERFORM end_crashed(jobs.id, moment, by_owner) FROM jobs
    WHERE jobs.run = of_run AND state = 'interrupted' AND crashes >= max_crashes;
    UPDATE jobs SET state = 'pending', cancel = NULL WHERE jobs.run = of_run AND state = 'interrupted';
    UPDATE jobs SET sender = by_owner WHERE jobs.run = of_run AND finished IS NULL;
    UPDATE runs SET owner = CASE WHEN finished IS NULL THEN by_owner END WHERE id = of_run RETURNING * INTO run;
    IF run.held THEN
        PERFORM let_in(run.flow, moment);
    END IF;
    PERFORM tell_of_work();
    RETURN jsonb_build_object('run', of_run, 'resumed', true, 'jobs', run.jobs, 'unfinished', run.unfinished,
        'waits', (SELECT held FROM runs WHERE id = of_run));
END $$;
