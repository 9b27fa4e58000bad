-- Turns: what a scheduler does with the store, many things at once. One call is one transaction.

-- Does what a scheduler wants, and starts the next jobs for it.
--
-- by_owner, number: who, and which turn of its own. The same number again is answered as before, and nothing is done: the
--   connection was lost, and nobody knew whether it had been.
-- alone: whether it takes the gate alone; else it is refused with LC001 where it has to.
-- runs: the runs whose jobs it ends.
-- plain, endings, others: jobs to be stored, ends of attempts, and everything else, in this order.
-- asked: for a claim: room, everything (whoever knows it), shares, max_crashes, now; NULL for none.
CREATE OR REPLACE FUNCTION turn(
    by_owner bigint, number bigint, alone boolean, runs bigint[], plain jsonb, endings jsonb, others jsonb, asked jsonb
) RETURNS jsonb LANGUAGE plpgsql
-- A session keeps its plans, and makes them when the tables are nearly empty: by the indexes, whatever they seem to cost.
SET search_path = lifecycle, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    me owners;
    before turns;
    stored jsonb := '[]';
    ended jsonb := '[]';
    answers jsonb := '[]';
    claims jsonb;
    busy boolean := plain IS NOT NULL OR endings IS NOT NULL OR others IS NOT NULL;
BEGIN
    PERFORM need_read_committed();
    IF alone THEN
        PERFORM have_gate_alone();
    ELSE
        PERFORM share_gate(runs);
    END IF;
    SELECT * INTO me FROM owners WHERE id = by_owner;
    IF me.id IS NULL THEN
        RETURN '{"registered": false}';
    END IF;
    IF busy THEN
        SELECT * INTO before FROM turns WHERE owner = by_owner;
        IF before.number = turn.number THEN
            RETURN before.answers || '{"registered": true, "again": true}';
        END IF;
        IF plain IS NOT NULL THEN
            stored := put_plain_jobs(plain, by_owner);
            PERFORM tell_of_work();
        END IF;
        IF endings IS NOT NULL THEN
            ended := finish_all(endings, by_owner);
        END IF;
        IF others IS NOT NULL THEN
            answers := do_all(others, by_owner);
        END IF;
    END IF;
    IF asked IS NOT NULL THEN
        claims := claim(
            by_owner, (asked->>'room')::integer,
            CASE WHEN (asked->>'everything')::boolean THEN NULL ELSE (SELECT known FROM owners WHERE id = by_owner) END,
            asked->'shares', (asked->>'max_crashes')::integer, (asked->>'now')::double precision);
    END IF;
    IF busy THEN
        INSERT INTO turns VALUES (
            by_owner, turn.number, jsonb_build_object('stored', stored, 'ended', ended, 'answers', answers), clock())
        ON CONFLICT (owner) DO UPDATE SET number = excluded.number, answers = excluded.answers, at = excluded.at;
    END IF;
    RETURN jsonb_build_object(
        'registered', true, 'stored', stored, 'ended', ended, 'answers', answers, 'claims', claims, 'messages', messages());
END $$;

-- Ends attempts; of each is returned what followed, true for nothing.
CREATE OR REPLACE FUNCTION finish_all(endings jsonb, by_owner bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    plain bigint[] := finish_plain(endings, by_owner);
    said jsonb;
    answers jsonb := '[]';
BEGIN
    FOR said IN SELECT jsonb_array_elements(endings) LOOP
        answers := answers || jsonb_build_array(CASE WHEN (said->>'id')::bigint = ANY(plain) THEN 'true'
            ELSE coalesce(finish(said, by_owner, (said->>'now')::double precision), 'true') END);
    END LOOP;
    RETURN answers;
END $$;

CREATE OR REPLACE FUNCTION do_all(others jsonb, by_owner bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
    answers jsonb := '[]';
BEGIN
    FOR said IN SELECT jsonb_array_elements(others) LOOP
        answers := answers || jsonb_build_array(carry_out(said, by_owner, (said->>'now')::double precision));
    END LOOP;
    RETURN answers;
END $$;

-- Does one thing, which *said* names, and returns its answer.
CREATE OR REPLACE FUNCTION carry_out(said jsonb, by_owner bigint, moment double precision) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    CASE said->>'do'
    WHEN 'admit' THEN RETURN admit(said->'job', by_owner, moment);
    WHEN 'open_run' THEN RETURN open_run(
        said->'run', (said->>'resume')::boolean, (said->>'fresh')::boolean, by_owner, (said->>'max_crashes')::integer, moment);
    WHEN 'retry' THEN RETURN to_jsonb(retry(said, by_owner, (said->>'due')::double precision));
    WHEN 'report' THEN PERFORM keep_report(said, by_owner); RETURN NULL;
    WHEN 'give_back' THEN RETURN give_back(said->'attempts', by_owner, moment);
    WHEN 'cancel' THEN RETURN cancel((said->>'id')::bigint, said->>'reason', moment, by_owner);
    WHEN 'cancel_run' THEN RETURN cancel_run((said->>'id')::bigint, said->>'reason', moment, by_owner);
    WHEN 'set_priority' THEN RETURN to_jsonb(set_priority((said->>'id')::bigint, (said->>'priority')::bigint));
    WHEN 'put_ahead' THEN PERFORM put_ahead((said->>'id')::bigint, (said->>'of')::bigint); RETURN NULL;
    WHEN 'expire' THEN RETURN to_jsonb(expire(moment));
    WHEN 'learn' THEN PERFORM learn(ARRAY(SELECT jsonb_array_elements_text(said->'names')), by_owner); RETURN NULL;
    WHEN 'adopt' THEN RETURN to_jsonb(adopt(
        ARRAY(SELECT jsonb_array_elements_text(said->'names')), by_owner, (said->>'max_crashes')::integer, moment));
    WHEN 'adopt_run' THEN RETURN adopt_run((said->>'id')::bigint, by_owner, (said->>'max_crashes')::integer, moment);
    WHEN 'bury' THEN RETURN to_jsonb(bury(by_owner, moment));
    WHEN 'survived' THEN
        PERFORM survived(ARRAY(SELECT jsonb_array_elements_text(said->'ids')::bigint)); RETURN NULL;
    WHEN 'leave' THEN RETURN to_jsonb(retire(by_owner, false, moment));
    WHEN 'forget_notices' THEN DELETE FROM notices WHERE owner = by_owner AND id <= (said->>'last')::bigint; RETURN NULL;
    WHEN 'revive_jobs' THEN RETURN revive_jobs(
        ARRAY(SELECT jsonb_array_elements_text(said->'ids')::bigint), (said->>'force')::boolean,
        ARRAY(SELECT jsonb_array_elements_text(said->'names')), by_owner, moment);
    WHEN 'revive_run' THEN RETURN revive_run(
        (said->>'id')::bigint, ARRAY(SELECT jsonb_array_elements_text(said->'names')), by_owner, moment);
    WHEN 'put_schedule' THEN RETURN put_schedule(said->'schedule', moment);
    WHEN 'remove_schedule' THEN RETURN to_jsonb(remove_schedule(said->>'name'));
    WHEN 'pause_schedule' THEN RETURN to_jsonb(pause_schedule(said->>'name'));
    WHEN 'resume_schedule' THEN RETURN to_jsonb(resume_schedule(said->>'name', (said->>'due')::double precision, moment));
    WHEN 'bound_schedule' THEN RETURN to_jsonb(bound_schedule(
        said->>'name', (said->>'max_instances')::integer, said->>'overlap'));
    WHEN 'trigger_schedule' THEN RETURN trigger_schedule(said, by_owner, moment);
    WHEN 'request_run' THEN RETURN to_jsonb(request_run(said->>'name'));
    WHEN 'fire' THEN RETURN fire(
        (said->>'schedule')::bigint, (said->>'was_due')::double precision, said->'firing', by_owner, moment);
    WHEN 'shorten_waits' THEN PERFORM shorten_waits(moment); RETURN NULL;
    WHEN 'set_due' THEN RETURN to_jsonb(set_due(
        (said->>'schedule')::bigint, said->>'seen', (said->>'due')::double precision));
    WHEN 'put_limit' THEN PERFORM put_limit(said->'limit'); RETURN NULL;
    WHEN 'pause_limit' THEN RETURN to_jsonb(pause_limit(said->>'kind', said->>'name', (said->>'paused')::boolean));
    WHEN 'sweep' THEN RETURN sweep(
        (said->>'last')::bigint, (said->>'keep_for')::double precision, (said->>'keep_jobs')::bigint, moment);
    END CASE;
END $$;

-- Does one thing for somebody who is no scheduler: the command line. Alone.
CREATE OR REPLACE FUNCTION visit(said jsonb) RETURNS jsonb LANGUAGE plpgsql
SET search_path = lifecycle, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    answer jsonb;
BEGIN
    PERFORM need_read_committed();
    PERFORM have_gate_alone();
    answer := carry_out(said, NULL, clock());
    PERFORM pg_notify('lifecycle', message) FROM jsonb_array_elements_text(messages()) AS message;
    RETURN answer;
END $$;
