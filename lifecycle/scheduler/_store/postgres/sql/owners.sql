-- The schedulers that work on the store: coming, being heard of, leaving, and what those leave that have died.

-- Registers a scheduler and returns its number, which nobody else ever has: where an older copy of the database is put in
-- place, or a standby goes on that lacks the last moments, a sequence would give the numbers of those who live once more.
CREATE OR REPLACE FUNCTION enter(
    its_name text, its_host text, its_pid integer, its_lease double precision, its_secret text DEFAULT gen_random_uuid()::text
) RETURNS bigint LANGUAGE sql SET search_path = lifecycle, pg_temp AS $$
    INSERT INTO owners (id, name, host, pid, started, seen, contact, lease, secret)
    VALUES (1 + floor(random() * 2 ^ 52)::bigint, its_name, its_host, its_pid, clock(), clock(), clock(), its_lease, its_secret)
    RETURNING id
$$;

-- Returns whether a scheduler that was seen last at this time is taken for alive. One that was seen later than now has been
-- seen before the clock was set back: it says so again, or has died.
CREATE OR REPLACE FUNCTION lives(seen double precision, lease double precision) RETURNS boolean LANGUAGE sql AS $$
    SELECT abs(lifecycle.clock() - seen) <= lease
$$;

-- Says that a scheduler lives. Returns whether it is still registered, the time, and whether another one is to be
-- buried. Only who has been heard of without a gap for as long as a lease judges others: after an hour without the database
-- all of them come back at the same time. Nor when the clock was set back: the others have then been seen later than now,
-- until they are heard of once more, and who has died then stays so.
CREATE OR REPLACE FUNCTION beat(by_owner bigint) RETURNS jsonb LANGUAGE plpgsql SET search_path = lifecycle, pg_temp AS $$
DECLARE
    me owners;
    moment double precision := clock();
BEGIN
    UPDATE owners SET seen = moment, contact = CASE WHEN moment - seen BETWEEN -0.5 AND lease / 2 THEN contact ELSE moment END
    WHERE id = by_owner RETURNING * INTO me;
    IF moment - me.contact >= me.lease THEN
        PERFORM end_stuck_sessions(me.lease);
    END IF;
    RETURN jsonb_build_object(
        'owner', by_owner,
        'registered', me.id IS NOT NULL,
        'clock', moment,
        'dead', coalesce(moment - me.contact >= me.lease, false) AND EXISTS (
            SELECT 1 FROM owners WHERE NOT lives(seen, lease) AND id <> by_owner));
END $$;

-- Ends the connections of schedulers that have been stopped and do not read what the database wants to say: it would keep
-- its locks until they do.
CREATE OR REPLACE FUNCTION end_stuck_sessions(its_lease double precision) RETURNS void LANGUAGE sql AS $$
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'lifecycle %' AND wait_event = 'ClientWrite'
        AND usename = current_user AND query_start < clock_timestamp() - make_interval(secs => its_lease)
$$;

-- Removes the schedulers that have not been heard of for as long as their leases; returns how many. Who asks has to have
-- been heard of without a gap for as long, up to this moment: else it may be the database that was away, for all.
CREATE OR REPLACE FUNCTION bury(by_owner bigint, moment double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    me owners;
    one record;
    found integer := 0;
BEGIN
    PERFORM need_alone();
    SELECT * INTO me FROM owners WHERE id = by_owner;
    FOR one IN
        SELECT id FROM owners
        WHERE NOT lives(seen, lease) AND id <> by_owner
            AND clock() - me.seen <= me.lease / 2 AND clock() - me.contact >= lease
        FOR UPDATE
    LOOP
        PERFORM retire(one.id, true, moment);
        found := found + 1;
    END LOOP;
    DELETE FROM turns WHERE at < clock() - 86400 AND owner NOT IN (SELECT id FROM owners);
    RETURN found;
END $$;

-- Notes that a scheduler was taken for dead and lives: that was no crash of the jobs that it ran.
CREATE OR REPLACE FUNCTION survived(ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need_alone();
    UPDATE jobs SET crashes = crashes - 1 WHERE id = ANY(ids) AND crashes > 0 AND finished IS NULL;
END $$;

-- Removes a scheduler: what it ran is interrupted. What was cancelled is not left to the next one, which would run it: it
-- has ended with this one. With *crashed* its process seems to have died, and that counts for each job that it ran.
CREATE OR REPLACE FUNCTION retire(scheduler bigint, crashed boolean, moment double precision) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    one record;
    many integer;
BEGIN
    PERFORM need_alone();
    UPDATE jobs SET state = 'interrupted', owner = NULL, crashes = crashes + crashed::integer
    WHERE owner = scheduler AND state = 'running';
    GET DIAGNOSTICS many = ROW_COUNT;
    UPDATE runs SET owner = NULL WHERE owner = scheduler AND finished IS NULL;
    FOR one IN SELECT id, cancel FROM jobs WHERE state = 'interrupted' AND owner IS NULL AND cancel IS NOT NULL ORDER BY id LOOP
        PERFORM cancel(one.id, one.cancel, moment, NULL);
    END LOOP;
    DELETE FROM notices WHERE owner = scheduler;
    DELETE FROM turns WHERE owner = scheduler AND NOT crashed;
    DELETE FROM owners WHERE id = scheduler;
    PERFORM tell_of_work();
    RETURN many;
END $$;

-- Lets a job fail that has crashed its process so often; its heir is told as well as its sender.
CREATE OR REPLACE FUNCTION end_crashed(of_job bigint, moment double precision, by_owner bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    job jobs;
BEGIN
    SELECT * INTO job FROM jobs WHERE id = of_job;
    PERFORM end_unrun(of_job, 'failed', CASE WHEN job.crashes > 1 THEN format('crashed the process %s times', job.crashes)
        ELSE 'crashed the process' END, moment, NULL);
    IF by_owner IS DISTINCT FROM job.sender THEN
        PERFORM notify_owner(by_owner, of_job);
    END IF;
END $$;

-- Lets the jobs wait again, two thousand at most, that were interrupted and that a scheduler can do, and gives it the
-- runs that nobody has. Returns how many jobs those were.
CREATE OR REPLACE FUNCTION adopt(names text[], by_owner bigint, max_crashes integer, moment double precision) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    many integer;
BEGIN
    PERFORM need_alone();
    PERFORM end_crashed(id, moment, by_owner) FROM jobs
    WHERE state = 'interrupted' AND doer = ANY(names) AND crashes >= max_crashes;
    UPDATE jobs SET state = 'pending', cancel = NULL WHERE id IN (
        SELECT id FROM jobs WHERE state = 'interrupted' AND doer = ANY(names) ORDER BY priority DESC, id LIMIT 2000);
    GET DIAGNOSTICS many = ROW_COUNT;
    PERFORM adopt_run(id, by_owner, max_crashes, moment) FROM (
        SELECT id FROM runs WHERE finished IS NULL AND owner IS NULL AND doer = ANY(names) ORDER BY id) AS left_over;
    PERFORM tell_of_work();
    RETURN many;
END $$;

-- Says what a scheduler can do.
CREATE OR REPLACE FUNCTION learn(names text[], by_owner bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE owners SET known = names WHERE id = by_owner
$$;
