"""What is watched: what lives, what is left, and whether the loop waits or runs in circles."""
