"""Programs, one for each owner and end, of which nothing may be left without the garbage collector."""
