"""Seeded leak patterns: small programs, each wrong in one way that people have shipped."""
