/* Tells whether the agent's program is whole. */
#ifndef RUNNER_AGENT_SELF_HASH_H
#define RUNNER_AGENT_SELF_HASH_H

/* Prints the SHA-256 of the running program's file; returns the exit status. A status alone would not do: a shell takes
 * an empty file for a script that succeeds. */
int self_hash(void);

#endif
