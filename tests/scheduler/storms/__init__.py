"""Storms: programs that share a store, killed again and again while its surroundings fail, and what must hold after."""
