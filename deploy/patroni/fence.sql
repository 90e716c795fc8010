-- Optional: a fence in the database itself, for gateways with TOKEN_TABLE=token_fenced.
--
-- Under Patroni's synchronous_mode only a server that synchronous_standby_names lists can be promoted. So a primary that has
-- not heard of each of them for 3 s may have been replaced. It says so with 57P03, which is to the gateway a server of no
-- use: 503, and the next host.
--
-- The price: a synchronous standby that stops is an outage of the token table until Patroni has taken it off the list (up to
-- loop_wait), or it is back. It needs wal_receiver_status_interval = 1s (patroni-dcs.yml), and clocks of the servers that
-- differ by less than ttl: pg_stat_replication shows the times of the standbys. Run it as a role in pg_monitor.
CREATE FUNCTION token_fence() RETURNS boolean
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  names text := regexp_replace(current_setting('synchronous_standby_names'), '^.*\((.*)\)$', '\1');
  heard bigint;
BEGIN
  IF names = '' OR pg_is_in_recovery() THEN
    RETURN true;
  END IF;
  SELECT count(*) INTO heard FROM pg_stat_replication
    WHERE sync_state <> 'async' AND reply_time > clock_timestamp() - interval '3 s';
  IF heard >= cardinality(string_to_array(names, ',')) THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'a synchronous standby has not been heard of for 3 s: it may be the primary' USING ERRCODE = '57P03';
END $$;

-- With security_barrier the function is called once for each statement, before any row is read. Without it the planner calls
-- it for the rows that it has found, so that a replaced primary would call an unknown token unknown: 401 instead of 503.
CREATE VIEW token_fenced WITH (security_barrier) AS SELECT * FROM "Token" WHERE token_fence();

-- INSERT and UPDATE too, where the gateways have SESSION_ENDPOINTS=on: rows can be written through the view.
GRANT SELECT ON token_fenced TO poweron_gateway;
