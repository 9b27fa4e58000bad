-- Who may do what at the same time. All locks end with the transaction, and each transaction is one statement: a scheduler
-- that is stopped, or cut off, in the middle of it holds nothing, and a pooler may give it another connection each time.
--
-- * What touches one job by itself, or the jobs of one run, takes the gate with others, and the run alone.
-- * What goes further (jobs that need jobs of elsewhere, keys that change hands, schedules, owners that have died) takes
--   the gate alone. A turn that finds on its way that it has to goes back, and is sent again so: `need_alone`.

CREATE OR REPLACE FUNCTION share_gate(runs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7811887835453254);
    FOR one IN SELECT DISTINCT run FROM unnest(runs) AS run ORDER BY run LOOP
        PERFORM have_run(one);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION have_run(of_run bigint) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(78118878, (of_run % 2147483647)::integer)
$$;

CREATE OR REPLACE FUNCTION have_gate_alone() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7811887835453254);
    PERFORM set_config('lifecycle.alone', 'yes', true);
END $$;

-- What is done here reads what others have done before: also what they did while this one waited for its locks. Our
-- connections see to it when they are told; behind a pooler that may be of no use.
CREATE OR REPLACE FUNCTION need_read_committed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION USING ERRCODE = 'LC002', MESSAGE = format(
            'transactions begin as %s here, and have to begin as read committed: set default_transaction_isolation so for '
            'the role or the database', current_setting('transaction_isolation'));
    END IF;
END $$;

CREATE OR REPLACE FUNCTION need_alone() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('lifecycle.alone', true), '') <> 'yes' THEN
        RAISE EXCEPTION USING ERRCODE = 'LC001', MESSAGE = 'this has to be done while nobody else changes anything';
    END IF;
END $$;

-- Messages to whoever listens: there is work; something that a scheduler may wait for has ended; a run has; a schedule has
-- changed. They are told by whoever did it, when that is done, see `turn`: told in the transaction itself, each commit would
-- wait for the ones before it until those are on the disk. One that is lost is made up for by the next beat of the others.
CREATE OR REPLACE FUNCTION tell(message text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('lifecycle.messages', true), '');
BEGIN
    IF position(message || E'\n' IN before) = 0 THEN
        PERFORM set_config('lifecycle.messages', before || message || E'\n', true);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION messages() RETURNS jsonb LANGUAGE sql AS $$
    SELECT to_jsonb(string_to_array(rtrim(current_setting('lifecycle.messages', true), E'\n'), E'\n'))
$$;

CREATE OR REPLACE FUNCTION tell_of_work() RETURNS void LANGUAGE sql AS $$ SELECT tell('work') $$;

CREATE OR REPLACE FUNCTION tell_of_end(scheduler bigint, by_owner bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF scheduler IS DISTINCT FROM by_owner AND scheduler IS NOT NULL THEN
        PERFORM tell('ended ' || scheduler);
    END IF;
END $$;

-- Leaves a scheduler a notice of a job that somebody else has changed; that is told at once, there are few. One that has
-- left, or died, would never fetch it.
CREATE OR REPLACE FUNCTION notify_owner(scheduler bigint, of_job bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM owners WHERE id = scheduler) THEN
        INSERT INTO notices (owner, job) VALUES (scheduler, of_job);
        PERFORM pg_notify('lifecycle', 'notice ' || scheduler);
    END IF;
END $$;

-- Asks a scheduler to stop a job that it runs. The message says all that has to be known: to ask for the notice would take
-- the way to the database and back once more. It is signed: whoever may connect to the database can send messages, and
-- hear them. There is room for 8000 bytes.
CREATE OR REPLACE FUNCTION ask_to_stop(job jobs) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    what text := jsonb_build_array(job.id, job.attempt, left(job.cancel, 1000));
BEGIN
    INSERT INTO notices (owner, job) VALUES (job.owner, job.id);
    PERFORM pg_notify('lifecycle', format('stop %s %s %s', id, signature(what, secret), what))
    FROM owners WHERE id = job.owner;
END $$;

CREATE OR REPLACE FUNCTION signature(what text, secret text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(sha256(convert_to(secret || what || secret, 'UTF8')), 'hex')
$$;

CREATE OR REPLACE FUNCTION clock() RETURNS double precision LANGUAGE sql AS $$ SELECT extract(epoch FROM clock_timestamp())::double precision $$;
