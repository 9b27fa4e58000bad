"""The language of flows: documents, expressions, names and tables, before they become blocks."""
