"""What every room stands on: the kernel, the errors, what owners share about closing, and the trace."""
