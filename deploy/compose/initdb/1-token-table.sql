-- The token table, its indexes, the notice of revocations and the role that the gateway needs.
-- Safe to run again, and with an existing table: nothing that exists is changed. PostgreSQL 14 or later.

BEGIN;

CREATE TABLE IF NOT EXISTS "Token" (
  "id"           text PRIMARY KEY,
  "userId"       text NOT NULL,
  "sessionId"    text NOT NULL,
  "mandateId"    text,
  "status"       text NOT NULL CHECK ("status" IN ('ACTIVE', 'REVOKED')),
  "expiresAt"    timestamptz NOT NULL
);

-- Revoking a session or a user, and listing tokens, without reading the whole table.
CREATE INDEX IF NOT EXISTS "Token_session_idx" ON "Token" ("sessionId");
CREATE INDEX IF NOT EXISTS "Token_user_idx" ON "Token" ("userId");

-- Notifies the gateways of each revocation, so that open streams end at once: REVOCATION_CHANNEL=token_revoked
CREATE OR REPLACE FUNCTION "Token_notify_revoked"() RETURNS trigger LANGUAGE plpgsql AS $notify$
BEGIN
  PERFORM pg_catalog.pg_notify('token_revoked', OLD."id"::text);
  RETURN NULL;
END $notify$;

CREATE OR REPLACE TRIGGER "Token_revoked" AFTER UPDATE OF "status" ON "Token"
  FOR EACH ROW WHEN (OLD."status" = 'ACTIVE' AND (NEW."status" = 'ACTIVE') IS NOT TRUE)
  EXECUTE FUNCTION "Token_notify_revoked"();

CREATE OR REPLACE TRIGGER "Token_deleted" AFTER DELETE ON "Token"
  FOR EACH ROW WHEN (OLD."status" = 'ACTIVE')
  EXECUTE FUNCTION "Token_notify_revoked"();

-- Least privilege: this one table and nothing else. Give the role a password: \password poweron_gateway (in psql).
-- Without the right to create roles this prints a warning and the rest is done; run it again once the role exists.
DO $role$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'poweron_gateway') THEN
    BEGIN
      CREATE ROLE poweron_gateway LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE WARNING 'the role poweron_gateway was not created: it needs CREATEROLE';
      RETURN;
    END;
  END IF;
  EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %s TO poweron_gateway', (
    SELECT relnamespace::regnamespace FROM pg_catalog.pg_class WHERE oid = '"Token"'::regclass));
  REVOKE ALL ON "Token" FROM poweron_gateway;
  GRANT SELECT ON "Token" TO poweron_gateway;
  -- The gateway cancels a statement after its own time limit; this is for when it cannot.
  BEGIN
    ALTER ROLE poweron_gateway SET statement_timeout = '1250ms';
  EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'statement_timeout of the role poweron_gateway was not set: it needs ADMIN OPTION on the role';
  END;
END $role$;

COMMIT;
