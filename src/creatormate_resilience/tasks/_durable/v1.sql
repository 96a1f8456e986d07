-- Version 1 of the tables of creatormate-resilience beside those of Procrastinate.
--
-- Procrastinate's job says when and where a task runs, and is deleted when the task has ended. Our row says what the
-- task is and what became of it. Whoever changes both locks the job first and the row second; so nobody waits in a ring.

CREATE TABLE creatormate_tasks (
    id uuid PRIMARY KEY,                       -- begins with its time, so the newest stand together
    job_id bigint NOT NULL,                    -- of procrastinate_jobs, while it has not ended
    name text NOT NULL,
    queue text NOT NULL,
    kind text NOT NULL,                        -- async, thread or process
    status text NOT NULL DEFAULT 'queued',     -- queued, running, or final: succeeded, failed, timed_out, cancelled,
                                               -- expired, lost, dead. Waiting ones with due_at ahead are scheduled or
                                               -- retrying, those past expires_at are expired: see _durable/_queries.py
    priority smallint NOT NULL,
    tags jsonb NOT NULL DEFAULT '{}',
    key text,
    unique_key text,
    run integer NOT NULL DEFAULT 0,            -- counts handings-out; who holds an older one has nothing to say any more
    attempts integer NOT NULL DEFAULT 0,
    rescues integer NOT NULL DEFAULT 0,        -- attempts whose worker vanished or could not run it
    envelope json NOT NULL,                    -- what a worker needs to run it, versioned
    call json NOT NULL,                        -- its arguments
    submitted_at timestamptz NOT NULL,
    queued_at timestamptz NOT NULL,            -- when it is due for the first time
    due_at timestamptz NOT NULL,               -- when it is due next
    expires_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    failed_at timestamptz,                     -- as ended_at, where it ended badly: the dead letters
    worker_id bigint,                          -- of procrastinate_workers, while it runs
    progress real,
    progress_message text,
    result json,
    error json
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

CREATE UNIQUE INDEX creatormate_tasks_unique ON creatormate_tasks (unique_key)
    WHERE ended_at IS NULL AND unique_key IS NOT NULL;
CREATE INDEX creatormate_tasks_expiry ON creatormate_tasks (expires_at)
    WHERE ended_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX creatormate_tasks_ended ON creatormate_tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX creatormate_tasks_failed ON creatormate_tasks (failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX creatormate_tasks_tags ON creatormate_tasks USING gin (tags jsonb_path_ops) WHERE tags <> '{}';

CREATE TABLE creatormate_occurrences (         -- firings of schedules, each claimed by one process
    name text NOT NULL,
    occurrence text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, occurrence)
);

-- Tasks of one spec and their jobs, in one statement. `_shared` is described in _durable/_submission.py.
CREATE FUNCTION creatormate_insert(_shared json, _ids uuid[], _calls json[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _now timestamptz := clock_timestamp();
    _due timestamptz := _now + make_interval(secs => coalesce((_shared->>'delay')::float8, 0));
    _jobs bigint[];
BEGIN
    _jobs := procrastinate_defer_jobs_v1(ARRAY(
        SELECT ROW(_shared->>'queue', 'creatormate.run', (_shared->>'priority')::integer, _shared->>'key', NULL,
                   jsonb_build_object('task', id), CASE WHEN _due > _now THEN _due END)::procrastinate_job_to_defer_v1
          FROM unnest(_ids) AS id));
    INSERT INTO creatormate_tasks (id, job_id, call, name, queue, kind, priority, tags, key, unique_key,
                                   envelope, submitted_at, queued_at, due_at, expires_at)
    SELECT each.id, each.job, each.call, _shared->>'name', _shared->>'queue', _shared->>'kind',
           (_shared->>'priority')::smallint, (_shared->>'tags')::jsonb, _shared->>'key', _shared->>'unique_key',
           _shared->'envelope', _now, _due, _due,
           _now + make_interval(secs => (_shared->>'expires')::float8)
      FROM unnest(_ids, _jobs, _calls) AS each (id, job, call);
END $$;

-- The job of a task, locked; NULL where there is no such task.
CREATE FUNCTION creatormate_lock(_task uuid) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _job bigint;
BEGIN
    SELECT job_id INTO _job FROM creatormate_tasks WHERE id = _task;
    PERFORM 1 FROM procrastinate_jobs WHERE id = _job FOR UPDATE;
    RETURN _job;
END $$;

-- Takes tasks: gives back their ids, or that of the one that has their unique key.
CREATE FUNCTION creatormate_submit(_shared json, _ids uuid[], _calls json[])
RETURNS TABLE (task uuid, joined boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _twin record;
    _try integer;
BEGIN
    IF EXISTS (SELECT 1 FROM creatormate_tasks WHERE id = _ids[1]) THEN  -- sent again, because the answer was lost
        RETURN QUERY SELECT id, false FROM unnest(_ids) AS id;
        RETURN;
    END IF;
    IF _shared->>'unique_key' IS NULL THEN
        PERFORM creatormate_insert(_shared, _ids, _calls);
        RETURN QUERY SELECT id, false FROM unnest(_ids) AS id;
        RETURN;
    END IF;
    FOR _try IN 1..10 LOOP
        SELECT id, status = 'queued' AND expires_at <= clock_timestamp() AS late INTO _twin FROM creatormate_tasks
         WHERE unique_key = _shared->>'unique_key' AND ended_at IS NULL;
        IF FOUND AND _twin.late IS NOT TRUE THEN
            RETURN QUERY SELECT _twin.id, true;
            RETURN;
        ELSIF FOUND THEN
            PERFORM creatormate_expire(_twin.id);
        END IF;
        BEGIN
            PERFORM creatormate_insert(_shared, _ids, _calls);
            RETURN QUERY SELECT _ids[1], false;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- somebody was quicker, and has committed now: look again
        END;
    END LOOP;
    RAISE 'the unique key is taken by a task that this transaction cannot see';
END $$;

-- Ends a task that could not start in time.
CREATE FUNCTION creatormate_expire(_task uuid) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _job bigint := creatormate_lock(_task);
BEGIN
    UPDATE creatormate_tasks SET status = 'expired', ended_at = clock_timestamp(), failed_at = clock_timestamp()
     WHERE id = _task AND status = 'queued' AND expires_at <= clock_timestamp();
    IF FOUND THEN
        PERFORM procrastinate_cancel_job_v1(_job, false, true);
    END IF;
END $$;

-- Hands out the next job, and the task with it; NULL where none is due.
CREATE FUNCTION creatormate_fetch(_queues varchar[], _worker bigint) RETURNS json
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _job procrastinate_jobs;
    _task creatormate_tasks;
BEGIN
    LOOP
        _job := procrastinate_fetch_job_v2(_queues, _worker);
        IF _job.id IS NULL THEN
            RETURN NULL;
        ELSIF _job.task_name <> 'creatormate.run' THEN
            RETURN json_build_object('job', to_json(_job));
        END IF;
        UPDATE creatormate_tasks
           SET status = 'running', run = run + 1, attempts = attempts + 1, worker_id = _worker,
               started_at = coalesce(started_at, clock_timestamp())
         WHERE id = (_job.args->>'task')::uuid AND status = 'queued'
           AND (expires_at IS NULL OR expires_at > clock_timestamp())
        RETURNING * INTO _task;
        IF FOUND THEN
            RETURN json_build_object('job', to_json(_job), 'id', _task.id, 'name', _task.name, 'run', _task.run,
                'kind', _task.kind, 'priority', _task.priority, 'attempts', _task.attempts, 'rescues', _task.rescues,
                'tags', _task.tags, 'envelope', _task.envelope, 'call', _task.call);
        END IF;
        UPDATE creatormate_tasks SET status = 'expired', ended_at = clock_timestamp(), failed_at = clock_timestamp()
         WHERE id = (_job.args->>'task')::uuid AND status = 'queued';
        PERFORM procrastinate_finish_job_v1(_job.id, 'failed', true);
    END LOOP;
END $$;

-- Wakes the workers of a queue: Procrastinate does it for new jobs only.
CREATE FUNCTION creatormate_wake(_queue text, _job bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _payload text := json_build_object('type', 'job_inserted', 'job_id', _job)::text;
BEGIN
    PERFORM pg_notify('procrastinate_queue_v1#' || _queue, _payload);
    PERFORM pg_notify('procrastinate_any_queue_v1', _payload);
END $$;

-- What an attempt came to. `_ending` is described in _durable/_ending.py. False: the task is not this worker's any more.
CREATE FUNCTION creatormate_finish(
    _id uuid, _run integer, _job bigint, _ending json, _result json, _error json) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _delay float8 := (_ending->>'delay')::float8;
    _now timestamptz := clock_timestamp();
    _state procrastinate_job_status;
    _queue text;
    _applied boolean;
BEGIN
    SELECT status INTO _state FROM procrastinate_jobs WHERE id = _job FOR UPDATE;
    UPDATE creatormate_tasks
       SET status = _ending->>'status', worker_id = NULL,
           result = _result, error = _error,
           progress = coalesce((_ending->>'progress')::real, progress),
           progress_message = coalesce(_ending->>'message', progress_message),
           attempts = attempts - (_ending->>'uncounted')::integer,
           rescues = rescues + (_ending->>'rescued')::integer,
           due_at = CASE WHEN _delay IS NULL THEN due_at ELSE _now + make_interval(secs => _delay) END,
           ended_at = CASE WHEN _delay IS NULL THEN _now END,
           failed_at = CASE WHEN _delay IS NULL AND _ending->>'status' NOT IN ('succeeded', 'cancelled') THEN _now END
     WHERE id = _id AND run = _run AND status = 'running'
    RETURNING queue INTO _queue;
    _applied := FOUND;
    IF _applied AND _delay IS NOT NULL THEN
        PERFORM procrastinate_retry_job_v2(
            _job, CASE WHEN _delay > 0 THEN _now + make_interval(secs => _delay) END, NULL, NULL, NULL);
        IF _delay = 0 THEN
            PERFORM creatormate_wake(_queue, _job);
        END IF;
        RETURN true;
    END IF;
    IF _state = 'doing' AND (_ending->>'hold')::boolean IS NOT TRUE AND (_applied OR EXISTS (
            SELECT 1 FROM creatormate_tasks WHERE id = _id AND run = _run AND ended_at IS NOT NULL)) THEN
        PERFORM procrastinate_finish_job_v1(_job, 'succeeded', true);  -- also after a cancellation
    END IF;
    RETURN _applied;
END $$;

-- 'cancelled', 'ended' where it had, NULL where there is no such task.
CREATE FUNCTION creatormate_cancel(_id uuid) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _job bigint := creatormate_lock(_id);
BEGIN
    IF _job IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE creatormate_tasks SET status = 'cancelled', ended_at = clock_timestamp(), worker_id = NULL
     WHERE id = _id AND ended_at IS NULL AND NOT (status = 'queued' AND coalesce(expires_at <= clock_timestamp(), false));
    IF NOT FOUND THEN
        RETURN 'ended';
    END IF;
    PERFORM procrastinate_cancel_job_v1(_job, true, true);
    RETURN 'cancelled';
END $$;

-- Queues a task that ended badly or was cancelled once more. 'queued'; 'taken' where another one has its unique key;
-- 'unsuitable' where it has not ended or succeeded; NULL where there is no such task.
CREATE FUNCTION creatormate_requeue(_id uuid) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _task creatormate_tasks;
    _jobs bigint[];
BEGIN
    PERFORM creatormate_expire(_id);
    SELECT * INTO _task FROM creatormate_tasks WHERE id = _id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF _task.ended_at IS NULL OR _task.status = 'succeeded' THEN
        RETURN 'unsuitable';
    END IF;
    _jobs := procrastinate_defer_jobs_v1(ARRAY[ROW(_task.queue, 'creatormate.run', _task.priority, _task.key, NULL,
        jsonb_build_object('task', _id), NULL)::procrastinate_job_to_defer_v1]);
    UPDATE creatormate_tasks
       SET status = 'queued', job_id = _jobs[1], run = run + 1, attempts = 0, rescues = 0,
           queued_at = clock_timestamp(), due_at = clock_timestamp(), expires_at = NULL, started_at = NULL, ended_at = NULL, failed_at = NULL, progress = NULL,
           progress_message = NULL, error = NULL
     WHERE id = _id;
    RETURN 'queued';
EXCEPTION WHEN unique_violation THEN
    RETURN 'taken';
END $$;

-- A worker's sign of life. A row that others took away because it was silent for long comes back.
CREATE FUNCTION creatormate_beat(_worker bigint) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE VALUES (_worker, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat;
$$;

-- Queues the tasks of workers that have been silent for longer than the lease, and what `_worker` was handed out but does
-- not hold, because the answer was lost; gives back how many. Without a lease only the latter.
CREATE FUNCTION creatormate_rescue(_lease float8, _most integer, _worker bigint, _held uuid[]) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _left record;
    _status text;
    _count integer := 0;
BEGIN
    FOR _left IN
        SELECT job.id, job.queue_name, (job.args->>'task')::uuid AS task
          FROM procrastinate_jobs AS job LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
         WHERE job.status = 'doing' AND job.task_name = 'creatormate.run'
           AND (worker.id IS NULL OR worker.last_heartbeat < clock_timestamp() - make_interval(secs => _lease)
                OR (job.worker_id = _worker AND (job.args->>'task')::uuid <> ALL (_held)))
         LIMIT 1000
           FOR UPDATE OF job SKIP LOCKED
    LOOP
        UPDATE creatormate_tasks
           SET run = run + 1, rescues = rescues + 1, worker_id = NULL,
               status = CASE WHEN rescues < _most THEN 'queued' ELSE 'lost' END,
               due_at = clock_timestamp(),
               ended_at = CASE WHEN rescues < _most THEN NULL ELSE clock_timestamp() END,
               failed_at = CASE WHEN rescues < _most THEN NULL ELSE clock_timestamp() END
         WHERE id = _left.task AND status = 'running'
        RETURNING status INTO _status;
        IF FOUND AND _status = 'queued' THEN
            PERFORM procrastinate_retry_job_v2(_left.id, NULL, NULL, NULL, NULL);
            PERFORM creatormate_wake(_left.queue_name, _left.id);
            _count := _count + 1;
        ELSE
            PERFORM procrastinate_finish_job_v1(_left.id, 'failed', true);
        END IF;
    END LOOP;
    RETURN _count;
END $$;

-- Ends what has expired, and forgets what ended long ago; gives back how many it forgot.
CREATE FUNCTION creatormate_prune(_ttl float8, _failure_ttl float8, _most integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    _count integer;
BEGIN
    PERFORM creatormate_expire(late.id)
       FROM (SELECT id FROM creatormate_tasks
              WHERE ended_at IS NULL AND expires_at <= clock_timestamp() AND status = 'queued' LIMIT _most) AS late;
    WITH old AS (
        SELECT id FROM creatormate_tasks
         WHERE ended_at < clock_timestamp() - make_interval(secs => _ttl)
           AND (failed_at IS NULL OR failed_at < clock_timestamp() - make_interval(secs => _failure_ttl))
         LIMIT _most FOR UPDATE SKIP LOCKED)
    DELETE FROM creatormate_tasks USING old WHERE creatormate_tasks.id = old.id;
    GET DIAGNOSTICS _count = ROW_COUNT;
    DELETE FROM procrastinate_workers WHERE last_heartbeat < now() - interval '1 day';
    DELETE FROM creatormate_occurrences WHERE claimed_at < now() - interval '30 days';
    RETURN _count;
END $$;

-- Tasks as they are seen: what is due later, and what can start no more, has its own status. Its clock
-- stands still for a statement: over a volatile one no condition could reach an index of the table.
CREATE VIEW creatormate_task_records AS
SELECT id, name, queue,
       CASE WHEN status <> 'queued' THEN status
            WHEN expires_at <= statement_timestamp() THEN 'expired'
            WHEN due_at <= statement_timestamp() THEN 'queued'
            WHEN attempts > 0 OR error IS NOT NULL THEN 'retrying'
            ELSE 'scheduled' END AS status,
       ended_at IS NOT NULL OR (status = 'queued' AND coalesce(expires_at <= statement_timestamp(), false)) AS final,
       priority, kind, tags, key, attempts, rescues, submitted_at, due_at, failed_at, worker_id,
       greatest(extract(epoch FROM coalesce(started_at, ended_at, statement_timestamp()) - queued_at), 0)::float8
           AS wait_time,
       extract(epoch FROM coalesce(ended_at, statement_timestamp()) - started_at)::float8 AS run_time,
       progress, progress_message, error, result
  FROM creatormate_tasks;
