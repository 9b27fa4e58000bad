-- Which jobs are next when there are several queues, or limits: fair shares between queues, priority inside of each.
--
-- Start-time fair queueing (Goyal, Vin and Cheng, 1996), as lanes.py has it for the other stores; rates by GCRA, as
-- limits.py. The schedulers of a store that has limits take turns here: the limits are locked until the turn is over.

CREATE OR REPLACE FUNCTION choose(
    queues text[], room integer, names text[], held bigint[], shares jsonb, moment double precision
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    -- What each limit is about, and how it stands.
    keys text[] := '{}';
    paused boolean[] := '{}';
    at_once integer[] := '{}';
    step double precision[] := '{}';
    burst integer[] := '{}';
    whole double precision[] := '{}';
    running bigint[] := '{}';
    used boolean[] := '{}';
    weights jsonb := '{}';
    closed text[]; -- the handlers of which nothing may begin
    -- The candidates, the most urgent of each queue first; where each queue begins, is, and ends.
    line candidate[];
    next_of integer[];
    end_of integer[];
    clocks double precision[]; -- what each queue has used
    clock_now double precision := coalesce((shares->>'now')::double precision, 0);
    waiting integer;
    best integer;
    head candidate;
    mine integer[];
    picked bigint[] := '{}';
    size bigint;
    sizes bigint := 0;
    next_at double precision;
    held_back boolean := false;
    opens double precision;
    open boolean;
    n integer;
    one record;
BEGIN
    FOR one IN SELECT * FROM limits ORDER BY kind, name FOR UPDATE LOOP
        keys := keys || (one.kind || ' ' || one.name);
        paused := paused || one.paused;
        at_once := at_once || one.at_once;
        step := step || one.per / one.number;
        burst := burst || one.burst;
        -- What was reckoned before the clock was set back, or for a slower rate, is put right once.
        used := used || coalesce(one.whole_at > moment + one.per / one.number * one.burst, false);
        whole := whole || CASE WHEN one.number IS NULL THEN one.whole_at
            ELSE least(one.whole_at, moment + one.per / one.number * one.burst) END;
        running := running || 0::bigint;
        IF one.kind = 'queue' THEN
            weights := weights || jsonb_build_object(one.name, one.weight);
        END IF;
    END LOOP;
    IF cardinality(keys) > 0 THEN
        FOR one IN SELECT queue, handler, count(*) AS many FROM jobs WHERE state = 'running' GROUP BY 1, 2 LOOP
            FOREACH n IN ARRAY limits_on(keys, one.queue, one.handler) LOOP
                running[n] := running[n] + one.many;
            END LOOP;
        END LOOP;
    END IF;

    closed := ARRAY(
        SELECT substr(keys[place], 9) FROM generate_subscripts(keys, 1) AS place
        WHERE keys[place] LIKE 'handler %' AND (paused[place] OR running[place] >= at_once[place]
            OR whole[place] - step[place] * (burst[place] - 1) > moment));
    line := ARRAY(
        SELECT (lane.queue, next.handler, next.id, next.priority)::candidate
        FROM (SELECT queue, doer FROM unnest(queues) AS queue
              CROSS JOIN LATERAL (SELECT unnest(coalesce(names, ARRAY(SELECT doers_in(queue)))) AS doer) AS known) AS lane
        CROSS JOIN LATERAL (
            (SELECT jobs.id, jobs.priority, jobs.handler FROM jobs
            WHERE state = 'pending' AND unmet = 0 AND due = 0 AND jobs.queue = lane.queue AND jobs.doer = lane.doer
                AND (jobs.expires IS NULL OR jobs.expires > moment)
                AND jobs.id <> ALL(held)
            ORDER BY jobs.priority DESC, jobs.id LIMIT room * 4 + 100)
            UNION -- however many of a handler that has no place stand before them in their flow
            (SELECT jobs.id, jobs.priority, jobs.handler FROM jobs
            WHERE state = 'pending' AND unmet = 0 AND due = 0 AND jobs.queue = lane.queue AND jobs.doer = lane.doer
                AND (jobs.expires IS NULL OR jobs.expires > moment)
                AND jobs.id <> ALL(held) AND closed <> '{}' AND lane.doer LIKE 'flow:%'
                AND coalesce(jobs.handler, '') <> ALL(closed)
            ORDER BY jobs.priority DESC, jobs.id LIMIT room)) AS next
        ORDER BY lane.queue, next.priority DESC, next.id);
    queues := '{}';
    FOR n IN 1 .. cardinality(line) LOOP
        IF n = 1 OR line[n].queue <> line[n - 1].queue THEN
            queues := queues || line[n].queue;
            next_of := next_of || n;
            end_of := end_of || n;
            clocks := clocks || coalesce((shares->'used'->>line[n].queue)::double precision, 0);
        END IF;
        end_of[cardinality(end_of)] := n;
    END LOOP;

    WHILE cardinality(picked) < room AND sizes < bytes_at_once() LOOP -- only what is started counts for a rate, or a share
        best := NULL;
        waiting := 0;
        FOR n IN 1 .. cardinality(queues) LOOP
            CONTINUE WHEN next_of[n] > end_of[n];
            waiting := waiting + 1;
            IF best IS NULL OR (greatest(clock_now, clocks[n]), -line[next_of[n]].priority, line[next_of[n]].id)
                < (greatest(clock_now, clocks[best]), -line[next_of[best]].priority, line[next_of[best]].id) THEN
                best := n;
            END IF;
        END LOOP;
        EXIT WHEN best IS NULL;
        head := line[next_of[best]];
        next_of[best] := next_of[best] + 1;
        mine := limits_on(keys, head.queue, head.handler);
        open := true;
        FOREACH n IN ARRAY mine LOOP
            IF paused[n] OR running[n] >= at_once[n] THEN
                held_back := true;
                open := false;
            ELSIF step[n] IS NOT NULL THEN
                opens := whole[n] - step[n] * (burst[n] - 1);
                IF opens > moment THEN
                    next_at := least(next_at, opens);
                    open := false;
                END IF;
            END IF;
        END LOOP;
        CONTINUE WHEN NOT open;
        SELECT coalesce(octet_length(payload), 0) + coalesce(octet_length(metadata), 0) INTO size FROM jobs
        WHERE id = head.id AND state = 'pending' AND unmet = 0 AND due = 0 FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND; -- another scheduler is about to take it
        picked := picked || head.id;
        sizes := sizes + size;
        FOREACH n IN ARRAY mine LOOP
            running[n] := running[n] + 1;
            IF step[n] IS NOT NULL THEN
                whole[n] := greatest(whole[n], moment) + step[n];
                used[n] := true;
            END IF;
        END LOOP;
        IF waiting > 1 THEN
            clock_now := greatest(clock_now, clocks[best]);
            clocks[best] := clock_now + 1.0 / coalesce((weights->>head.queue)::double precision, 1.0);
        END IF;
    END LOOP;

    FOR n IN 1 .. cardinality(keys) LOOP
        IF used[n] THEN
            UPDATE limits SET whole_at = whole[n] WHERE kind || ' ' || name = keys[n];
        END IF;
    END LOOP;
    RETURN jsonb_build_object(
        'picked', to_jsonb(picked), 'next_at', next_at, 'held_back', held_back,
        'shares', jsonb_build_object('now', clock_now, 'used', (
            SELECT coalesce(jsonb_object_agg(queue, used_up), '{}') FROM unnest(queues, clocks) AS each(queue, used_up)
            WHERE used_up > clock_now)));
END $$;

-- Which of the limits hold for a queue and a handler.
CREATE OR REPLACE FUNCTION limits_on(keys text[], of_queue text, of_handler text) RETURNS integer[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(place), '{}') FROM (
        SELECT array_position(keys, key) AS place
        FROM unnest(ARRAY['all ', 'queue ' || of_queue, 'handler ' || coalesce(of_handler, '')]) AS key) AS found
    WHERE place IS NOT NULL
$$;
