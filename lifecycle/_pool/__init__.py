"""Pool: interchangeable values, lent to one borrower at a time, in order of arrival."""
