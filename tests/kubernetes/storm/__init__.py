"""Storms: jobs in thousands on several clusters at once, each with an end that was ordered, while everything breaks."""
