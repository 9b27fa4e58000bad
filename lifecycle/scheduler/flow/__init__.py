"""What a flow is: reading, checking and describing it. Nothing here runs anything."""
