"""Programs written for the standard library's owners, run on those and on ours."""
