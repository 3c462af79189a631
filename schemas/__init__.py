"""What a record means: columns, units, topics, facility, rules, admission, codecs, errors."""
