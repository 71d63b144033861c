"""lash beside its peers: the same work, on the same machine, in the same run. ``python -m benchmarks --peers``.

W1    one workflow of 1,000 sequential steps
W2    1,000 workflows of 10 steps, 100 at any time, from the first start to the last outcome
W3    2,000 empty workflows, from the first start to the last outcome
W4    500 workflows have 5 of 10 steps recorded and are in the 6th; SIGKILL; seconds from the spawn of a new OS
      process until it has finished them all, interpreter and imports included
W5    so many workflows asleep for 30 days; milliseconds from the start of an empty one to its outcome, one at a time
T1    one conversation of 50 turns, each two calls of a scripted model around one tool, one turn after another
T100  100 conversations of 10 such turns, all at once, from their beginning to the last answer
DISK  one conversation of 400 turns of one model call, 1,000,000 characters of text in all (random letters): megabytes;
      "again": from a store that nobody has open until one more turn of that conversation is on disk

T1, T100 and DISK ask nobody for a model's answer: what is measured is all but the provider.

Every step returns 200 bytes of JSON. Every contender runs in its own virtual environment, as one OS process that
starts the work and does it (Restate: a server, a service and a client), with a new database for each workload and
round; a warm-up comes first. Starts are made as each interface offers them: lash has start_many, the others start one
workflow at a time, from many tasks.

DISK is the SQLite file with its log copied into it, or what a PostgreSQL database has grown by, tables included.

Durability is the default of each, and all of them have fsync on: SQLite in WAL mode with synchronous=FULL, PostgreSQL
on a socket with synchronous_commit=on, Restate with fsync of its log. PostgreSQL is stock but for shared_buffers=64MB;
a checkpoint comes before each measurement, and VACUUM ANALYZE once the workflows of W5 are parked, as autovacuum would
do it soon.

Contenders take turns within a workload, workloads within a round; told is the median. W5 is filled once, in the first
round, and measured as often as there are rounds. How each contender was set up stands beneath the table.
"""
