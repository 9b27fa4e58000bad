"""The casebook: each case once as it leaked, and once on our primitives."""
