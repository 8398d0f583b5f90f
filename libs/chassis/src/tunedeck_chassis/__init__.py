"""How a Tunedeck service runs. Knows the bus, the database and the log; knows no domain."""
