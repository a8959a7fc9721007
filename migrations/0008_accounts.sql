-- Built-in accounts, for a shop that has none of its own (auth.accounts). An account's id is the user id of its orders.
--
-- Locks: a new table that nothing refers to.
CREATE TABLE accounts (
    id            uuid PRIMARY KEY,
    -- Trimmed and in lower case by whoever writes it: what lower case is depends on a database's locale.
    email         text NOT NULL UNIQUE CHECK (char_length(email) BETWEEN 3 AND 254),
    -- argon2id with salt and parameters, in PHC's string format. Never the password.
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
