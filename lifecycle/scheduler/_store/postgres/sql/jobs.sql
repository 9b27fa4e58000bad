-- How jobs get in. What each is to be comes as JSON; what a job does not say has its default.

CREATE OR REPLACE FUNCTION put_job(
    new jsonb, of_run bigint, its_doer text, more_unmet integer, by_owner bigint, moment double precision
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    waits integer := more_unmet + jsonb_array_length(coalesce(new->'needs', '[]'));
    its_delay double precision := coalesce((new->>'delay')::double precision, 0);
    its_at double precision := (new->>'at')::double precision;
    lifetime double precision := (new->>'lifetime')::double precision;
BEGIN
    INSERT INTO jobs (
        run, name, kind, state, doer, handler, queue, sender, priority, unmet, delay, due, at, expires, retries,
        backoff_first, backoff_longest, timeout, payload, metadata, key, when_, created)
    VALUES (
        of_run, new->>'name', new->>'kind', 'pending', its_doer, new->>'handler', new->>'queue', by_owner,
        (new->>'priority')::bigint, waits, its_delay,
        CASE WHEN its_at > moment THEN its_at WHEN its_delay > 0 AND waits = 0 THEN moment + its_delay ELSE 0 END,
        its_at, coalesce(moment + lifetime, (new->>'expires')::double precision), (new->>'retries')::bigint,
        (new->'backoff'->>0)::double precision, (new->'backoff'->>1)::double precision,
        (new->>'timeout')::double precision, new->>'payload', new->>'metadata', new->>'key', new->>'when', moment)
    RETURNING id INTO number;
    PERFORM tell_of_work();
    RETURN number;
END $$;

-- Many jobs by themselves at once that need nothing and have no key: as nearly all.
CREATE OR REPLACE FUNCTION put_plain_jobs(new jsonb, by_owner bigint) RETURNS jsonb LANGUAGE sql AS $$
    WITH stored AS (
        INSERT INTO jobs (
            name, kind, state, doer, handler, queue, sender, priority, unmet, delay, due, at, expires, retries,
            backoff_first, backoff_longest, timeout, payload, metadata, when_, created)
        SELECT name, kind, 'pending', coalesce(handler, ''), handler, queue, by_owner, priority, 0, coalesce(delay, 0),
            CASE WHEN at > now THEN at WHEN delay > 0 THEN now + delay ELSE 0 END, at,
            coalesce(now + lifetime, expires), retries,
            (backoff->>0)::double precision, (backoff->>1)::double precision, timeout, payload, metadata, "when", now
        FROM ROWS FROM (jsonb_to_recordset(new) AS (
            now double precision, name text, kind text, handler text, queue text, priority bigint,
            delay double precision, at double precision, expires double precision, lifetime double precision,
            retries bigint, backoff jsonb, timeout double precision, payload text, metadata text, "when" text
        )) WITH ORDINALITY ORDER BY ordinality
        RETURNING id)
    SELECT jsonb_agg(id ORDER BY id) FROM stored
$$;

-- Stores a job unless another has its key, or it needs what is not there. A key is had by one job at most of those that
-- have not ended: the index refuses a second one that comes in the same moment, and the turn is sent again.
CREATE OR REPLACE FUNCTION admit(new jsonb, by_owner bigint, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint[] := ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(coalesce(new->'awaits', '[]')));
    twin jobs;
    ahead bigint;
    unknown jsonb;
    replaced jsonb;
    lost text := new->>'lost';
    troubled boolean := false;
    waits bigint[] := '{}';
    number bigint;
    one record;
    ending text;
    reason text;
    of_twin jsonb;
BEGIN
    IF new->>'key' IS NOT NULL THEN
        SELECT * INTO twin FROM jobs WHERE key = new->>'key' AND finished IS NULL;
    END IF;
    IF twin.id IS NOT NULL THEN
        of_twin := jsonb_build_array(twin.id, twin.name, twin.state, twin.trouble);
        -- The job that still runs although the twin has its key.
        SELECT needed INTO ahead FROM needs JOIN jobs ON jobs.id = needs.needed
        WHERE needs.job = twin.id AND needs.tolerant AND jobs.finished IS NULL;
        IF new->>'on_twin' <> 'replace' OR twin.id = ANY(wanted) OR ahead = ANY(wanted) THEN
            RETURN jsonb_build_object('twin', of_twin);
        END IF;
    END IF;
    IF twin.id IS NOT NULL OR cardinality(wanted) > 0 OR jsonb_array_length(coalesce(new->'ended', '[]')) > 0 THEN
        PERFORM need_alone();
    END IF;
    SELECT jsonb_agg(id) INTO unknown FROM unnest(wanted) WITH ORDINALITY AS w(id, place)
    WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = w.id);
    IF unknown IS NOT NULL THEN
        RETURN jsonb_build_object('unknown', unknown);
    END IF;
    IF twin.id IS NOT NULL THEN
        replaced := cancel(twin.id, 'replaced by another job with the same key', moment, by_owner);
        IF replaced->'settled' IS NULL THEN
            ahead := twin.id;
        END IF;
        IF ahead IS NOT NULL THEN -- it runs: the key is handed on, and what has it begins when that has ended
            UPDATE jobs SET key = NULL WHERE id = ahead;
        END IF;
    END IF;
    -- Only now: what it needs may have needed the twin.
    FOR one IN SELECT jobs.* FROM unnest(wanted) WITH ORDINALITY AS w(id, place) JOIN jobs USING (id) ORDER BY place LOOP
        lost := coalesce(lost, skip_reason(one.name, one.state));
        troubled := troubled OR one.trouble;
        IF one.finished IS NULL THEN
            waits := waits || one.id;
        END IF;
    END LOOP;
    IF ahead IS NOT NULL THEN
        waits := waits || ahead;
    END IF;
    number := put_job(new, NULL, coalesce(new->>'handler', ''), cardinality(waits), by_owner, moment);
    -- Those that have ended as well: they decide whether it may be tried again by hand.
    INSERT INTO needs (needed, job, tolerant)
    SELECT DISTINCT id, number, id IS NOT DISTINCT FROM ahead FROM (
        SELECT unnest(wanted || waits) AS id
        UNION SELECT (said->>0)::bigint FROM jsonb_array_elements(coalesce(new->'ended', '[]')) AS said
        WHERE said->>1 IS NOT NULL OR EXISTS (SELECT 1 FROM jobs WHERE jobs.id = (said->>0)::bigint)) AS all_of_them;
    troubled := troubled OR lost IS NOT NULL;
    IF troubled THEN
        UPDATE jobs SET blocked = lost, trouble = true WHERE id = number;
    END IF;
    IF cardinality(waits) = 0 THEN -- else it is decided when the others have ended, too
        IF new->>'when' IS NULL AND lost IS NOT NULL THEN
            ending := 'cancelled';
            reason := lost;
        ELSIF new->>'when' = 'failure' AND NOT troubled THEN
            ending := 'skipped';
            reason := 'nothing that it needs has failed';
        END IF;
    END IF;
    IF ending IS NOT NULL THEN
        PERFORM end_unrun(number, ending, reason, moment, by_owner);
        UPDATE jobs SET skipped = true WHERE id = number;
    END IF;
    RETURN jsonb_build_object('job', number, 'twin', of_twin, 'replaced', replaced) || CASE WHEN ending IS NULL
        THEN '{}' ELSE jsonb_build_object('unrun', jsonb_build_array(number, new->>'name', reason, ending, NULL)) END;
END $$;
