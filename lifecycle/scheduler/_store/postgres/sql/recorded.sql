-- Which attempts were cut off, so that what they have begun elsewhere is gone on with.

ALTER TABLE jobs ADD COLUMN recorded bigint NOT NULL DEFAULT 0; -- the number of the last attempt whose end was recorded
