"""Timers: an async function run at a fixed rate, after a fixed delay, by a cron expression, or once."""
